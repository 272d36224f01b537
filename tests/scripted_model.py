"""The chat model of the stand-in server: it does by rule what a real one does by judgement.

It knows the tasks that latewood sets by their first line. It answers with the sentence of the passages that shares most
words with the question, or with what it has learned by heart; it takes an answer apart at its full stops; a claim is
supported where a text holds it, contradicted where a text holds it with or without a "not". `errors` are claims that it
judges wrongly on purpose.
"""

from __future__ import annotations

import json
import re


def words(text):
    return re.findall(r"\w+", text.lower())


def sentences(text):
    bare = re.sub(r"\s*\[[\d, ]+\]", "", text)
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", bare) if part.strip()]


def plain(text):
    return " ".join(words(text))


def without_not(text):
    return " ".join(word for word in words(text) if word != "not")


class ScriptedModel:
    def __init__(self):
        self.by_heart: dict[str, str] = {}
        self.least = 3  # words that a sentence must share with the question to answer it
        self.errors: set[str] = set()
        self.json_mode = True
        self.knows = {"max_tokens", "temperature", "response_format", "stream", "model", "messages"}
        self.calls: list[str] = []

    # -- the tasks -------------------------------------------------------------------------------------------------

    def answer(self, data):
        asked = set(words(data["question"]))
        best, number, shared = "", 0, 0
        for passage in data["passages"]:
            for sentence in sentences(passage["text"]):
                common = len(asked & set(words(sentence)))
                if common > shared:
                    best, number, shared = sentence, passage["number"], common
        if shared >= self.least:
            return f"{best} [{number}]"
        return self.by_heart.get(data["question"], "NOT IN THE PASSAGES")

    def claims(self, data):
        refusal = data["answer"].startswith(("I can't", "I don't know", "The text doesn't"))
        return {"refusal": refusal, "claims": [] if refusal else sentences(data["answer"])}

    def verdict(self, claim, texts):
        found = "not_in_text"
        for text in texts:
            if plain(claim) in plain(text):
                found = "supported"
                break
            if any(without_not(claim) == without_not(sentence) for sentence in sentences(text)):
                found = "contradicted"
        if claim in self.errors:
            found = "supported" if found != "supported" else "not_in_text"
        return found

    def verdicts(self, data):
        return {
            "verdicts": [
                {"claim": each["claim"], "verdict": self.verdict(each["text"], data["texts"]), "why": "by the words"}
                for each in data["claims"]
            ]
        }

    def citations(self, data):
        found = []
        for each in data["sentences"]:
            useful = [at for at in each["cites"] if plain(each["text"]) in plain(data["texts"][str(at)])]
            found.append({"sentence": each["sentence"], "together": bool(useful), "useful": useful})
        return {"sentences": found}

    # -- as chat completions ---------------------------------------------------------------------------------------

    def completion(self, body):
        unknown = set(body) - self.knows
        if unknown:
            name = min(unknown)
            return 400, {
                "error": {"message": f"Unsupported parameter: '{name}'. {self.hint(name)}", "code": "unsupported"}
            }
        system, user = (message["content"] for message in body["messages"])
        task = re.match(r"Task: (\w+ \w+)", system)[1]
        self.calls.append(task)
        data = json.loads(user)
        tasks = {"answer the": self.answer, "take the": self.claims, "check claims": self.verdicts}
        value = tasks.get(task, self.citations)(data)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if not isinstance(value, str) and "response_format" not in body:
            text = f"Here is what you asked for:\n```json\n{text}\n```\nTell me if you need more."
        finish = "stop"
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        if len(text) > 4 * limit:
            text, finish = text[: 4 * limit], "length"
        if body.get("stream"):
            return 200, self.stream(text, finish)
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": len(words(system + user)), "completion_tokens": len(words(text))}
        usage["total_tokens"] = sum(usage.values())
        return 200, {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}

    @staticmethod
    def hint(name):
        return "Use 'max_completion_tokens' instead." if name == "max_tokens" else ""

    @staticmethod
    def stream(text, finish):
        yield json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for piece in re.findall(r"\s*\S+|\s+$", text):
            yield json.dumps({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        yield json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        yield "[DONE]"
