// Which word of the question a token answers: on pointing at it, and by keyboard (arrow keys within a text).
const answer = document.getElementById("answer");
let pinned = null;

function prepare() {
  pinned = null;
  for (const text of answer.querySelectorAll(".text")) {
    text.querySelectorAll("mark").forEach((mark, i) => {
      mark.removeAttribute("title");
      mark.tabIndex = i === 0 ? 0 : -1; // one stop of the Tab key per text; the arrows do the rest
    });
  }
}

function say(text) {
  const line = document.getElementById("lit-by");
  if (line) line.textContent = text;
}

function clear() {
  answer.querySelectorAll(".lit").forEach((each) => each.classList.remove("lit"));
  answer.querySelector(".columns")?.classList.remove("dim");
  say("");
}

function light(numbers, from) {
  clear();
  const wanted = new Set(numbers);
  for (const word of answer.querySelectorAll(".word")) word.classList.toggle("lit", wanted.has(word.dataset.word));
  for (const mark of from ? [from] : answer.querySelectorAll("mark")) {
    if (from || mark.dataset.words.split(" ").some((number) => wanted.has(number))) mark.classList.add("lit");
  }
  if (!from) answer.querySelector(".columns")?.classList.add("dim");
}

function showMark(mark) {
  light(mark.dataset.words.split(" "), mark);
  say(`“${mark.textContent}” answers ${mark.dataset.said}`);
}

function showWord(word) {
  light([word.dataset.word], null);
  const count = answer.querySelectorAll("mark.lit").length;
  say(`“${word.textContent}” matched ${count} ${count === 1 ? "token" : "tokens"} below`);
}

function restore() {
  if (pinned?.isConnected) showWord(pinned);
  else clear();
}

function enter(target) {
  const mark = target.closest("mark");
  const word = target.closest(".word");
  if (mark) showMark(mark);
  else if (word) showWord(word);
  return Boolean(mark || word);
}

for (const [into, out] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  answer.addEventListener(into, (event) => enter(event.target));
  answer.addEventListener(out, (event) => {
    if (event.target.closest("mark, .word")) restore();
  });
}

answer.addEventListener("click", (event) => {
  const word = event.target.closest(".word");
  if (!word) return;
  pinned?.setAttribute("aria-pressed", "false");
  pinned = pinned === word ? null : word;
  pinned?.setAttribute("aria-pressed", "true");
  restore();
});

answer.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const mark = event.target.closest("mark");
  if (event.key === "Escape") {
    pinned?.setAttribute("aria-pressed", "false");
    pinned = null;
    clear();
  }
  if (!step || !mark) return;
  event.preventDefault();
  const marks = [...mark.closest(".text").querySelectorAll("mark")];
  const next = marks[marks.indexOf(mark) + step];
  if (!next) return;
  mark.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

// The same passage in the other column.
answer.addEventListener("pointerover", (event) => {
  const hit = event.target.closest(".two .hit");
  answer.querySelectorAll(".pair-lit").forEach((each) => each.classList.remove("pair-lit"));
  if (!hit) return;
  const same = answer.querySelectorAll(`.hit[data-id="${CSS.escape(hit.dataset.id)}"]`);
  if (same.length > 1) same.forEach((each) => each.classList.add("pair-lit"));
});

document.addEventListener("answered", prepare);
prepare();
