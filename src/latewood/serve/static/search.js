// Asks without loading the page anew. Without this module the form works as forms do.
const form = document.getElementById("ask");
const answer = document.getElementById("answer");
let running = null;

function template(id) {
  return document.getElementById(id).content.cloneNode(true);
}

function address() {
  const given = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value) given.append(name, value);
  }
  return `/?${given}`;
}

async function show(url, { push }) {
  running?.abort();
  const mine = (running = new AbortController());
  // A quick answer needs no sign of waiting, which would only flicker.
  const slow = setTimeout(() => {
    answer.setAttribute("aria-busy", "true");
    answer.replaceChildren(template("waiting"));
  }, 150);
  try {
    const response = await fetch(url, { signal: mine.signal });
    if (response.redirected) {
      location.assign(response.url);
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById("answer");
    if (!found) throw new Error(`got ${response.status}`);
    clearTimeout(slow);
    answer.replaceChildren(...found.childNodes);
    document.title = page.title;
    form.querySelector(".options").replaceWith(page.querySelector("#ask .options"));
    if (push) history.pushState(null, "", url);
    document.dispatchEvent(new Event("answered"));
  } catch (error) {
    clearTimeout(slow);
    if (error.name !== "AbortError") answer.replaceChildren(template("failed"));
  } finally {
    if (running === mine) answer.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(address(), { push: true });
});
form.addEventListener("change", (event) => {
  if (event.target.matches("select")) {
    const name = event.target.name;
    // Another collection has other fields to choose from.
    if (name === "collection") form.querySelectorAll('[name^="w."]').forEach((each) => (each.value = ""));
    show(address(), { push: true }).then(() => form.querySelector(`[name="${CSS.escape(name)}"]`)?.focus());
  }
});
addEventListener("popstate", () => {
  form.elements.q.value = new URLSearchParams(location.search).get("q") ?? "";
  show(location.pathname + location.search, { push: false });
});
