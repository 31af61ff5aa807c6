"""The page ``/docs``: the OpenAPI document as plain HTML, without scripts, and how to call the server."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from frostline._utils.text import templates

Document = Mapping[str, Any]
SNIPPETS = {
    "curl": """\
curl {key_curl}-F images=@photo.jpg '{address}v1/predict?top=3'""",
    "Python": """\
import requests

with open("photo.jpg", "rb") as file:
    reply = requests.post(
        "{address}v1/predict",
        params={{"top": 3}},
        files={{"images": file}},{key_python}
    )
reply.raise_for_status()
for result in reply.json()["results"]:
    print(result["name"], result["error"] if "error" in result else result["predictions"])""",
    "JavaScript": """\
const form = new FormData();
form.append("images", file); // a File, from <input type="file"> or a drop
const reply = await fetch("{address}v1/predict?top=3", {{ method: "POST", body: form{key_js} }});
const {{ results }} = await reply.json();
for (const {{ name, predictions, error }} of results) console.log(name, error ?? predictions);""",
}
KEYS = {
    "key_curl": '-H "Authorization: Bearer $KEY" ',
    "key_python": '\n        headers={"Authorization": f"Bearer {key}"},',
    "key_js": ", headers: { Authorization: `Bearer ${key}` }",
}


def docs_page(document: Document, address: str, *, with_key: bool) -> str:
    """Return the page for an OpenAPI document.

    Parameters
    ----------
    address : str
        Of the server, with a slash at the end.
    with_key : bool
        Whether requests must send a key.
    """
    keys = KEYS if with_key else dict.fromkeys(KEYS, "")
    return (
        templates("frostline.serve")
        .get_template("docs.jinja")
        .render(
            document=document,
            snippets={name: text.format(address=address, **keys) for name, text in SNIPPETS.items()},
            operations=[
                (method.upper(), path, operation)
                for path, methods in document["paths"].items()
                for method, operation in methods.items()
            ],
            type_of=type_of,
            marked=marked,
            bounds=bounds,
        )
    )


def marked(text: str) -> Markup:
    """Return text with what is between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def type_of(schema: Document) -> str:
    """Return the type of a schema as text, e.g. ``array of Prediction``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(type_of(part) for part in schema[choice])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {type_of(schema.get('items', {}))}"
    return str(schema["format"]) if kind == "string" and "format" in schema else kind


def bounds(schema: Document) -> str:
    """Return range and default of a schema as text."""
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    parts = [f"{low:g} to {high:g}"] if low is not None and high is not None else []
    if "default" in schema and schema["default"] is not None:
        parts.append(f"default {str(schema['default']).lower()}")
    return ", ".join(parts)
