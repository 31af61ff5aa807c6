// Rendering: the answer for one image, the table of all images, and the table as CSV.

const $ = (id) => document.getElementById(id);
const BARRED = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu; // includes characters that reorder text
const FORMULA = /^'*(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/; // evaluated by spreadsheets
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const hex = (c, digits) => c.charCodeAt(0).toString(16).padStart(digits, "0");
const escaped = (c) => SHORT[c] ?? (c < "\u0100" ? `\\x${hex(c, 2)}` : `\\u${hex(c, 4)}`);
const share = (p) => `${+(100 * p).toFixed(1)} %`;
const percent = (p) => (100 * p).toFixed(p < 0.9995 ? 1 : 2) + " %";

// Untrusted text (names of files and classes), as one line without control characters.
export const printable = (text) => text.replace(BARRED, escaped);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function track(probability) {
  const fill = make("span", { class: "fill" });
  fill.style.width = `${100 * probability}%`;
  return make("span", { class: "track", "aria-hidden": "true" }, fill);
}

// The model's classes, its accuracy, and below which confidence an answer is "not sure".
export function showAbout(model, reject) {
  const { accuracy } = model;
  $("about").hidden = false;
  $("accuracy").hidden = !accuracy;
  if (accuracy) {
    const [images, hint] = accuracy.split === "test" ? ["test", ""] : ["validation", " It is optimistic: these images selected the settings."];
    $("accuracy").textContent = `Accuracy ${percent(accuracy.value)} on ${accuracy.images.toLocaleString("en")} ${images} images (95 % interval ${percent(accuracy.low)} to ${percent(accuracy.high)}).${hint}`;
  }
  $("unsure-at").hidden = reject === null;
  if (reject !== null) {
    $("unsure-at").textContent = `The answer is “not sure” below the confidence that ${share(1 - reject)} of the validation images reach.`;
  }
  $("classes-title").textContent = `${model.classes.length} classes`;
  $("classes").replaceChildren(...model.classes.map((name) => make("li", {}, make("p", {}, printable(name)))));
}

export function showExamples(model, examples) {
  const images = Map.groupBy(examples, (one) => one.class);
  $("classes").replaceChildren(...model.classes.map((name) => {
    const shown = (images.get(name) ?? []).map((one) => make("img", { src: one.image, alt: "", loading: "lazy" }));
    return make("li", {}, make("p", {}, printable(name)), make("div", {}, ...shown));
  }));
}

export function liveAnswer({ predictions, rejected, error }) {
  if (error) return printable(error.detail);
  const best = `${printable(predictions[0].class)} ${percent(predictions[0].probability)}`;
  return rejected ? `Not sure (${best})` : best;
}

// An answer below the threshold is "not sure"; where the server itself rejects such answers, it counts as unknown.
export function showAnswer(item, reject, model) {
  $("detail").hidden = !item;
  if (!item) return;
  const best = printable(item.predictions[0].class);
  $("name").textContent = printable(item.name);
  $("detail").classList.toggle("unsure", Boolean(item.rejected));
  $("caption").textContent = item.rejected ? `Not sure: ${share(1 - reject)} of the validation images had a higher confidence. Best guess:` : "Most likely";
  $("answer").textContent = item.rejected && model.reject != null ? `Not sure (${best})` : best;
  const shown = $("shown");
  if (shown.getAttribute("src") !== item.address) {
    $("unseen").hidden = true;
    shown.hidden = false;
    shown.onload = () => {
      shown.classList.toggle("small", shown.naturalWidth <= 64);
      frameAs(model.fit, shown.naturalWidth, shown.naturalHeight);
    };
    shown.onerror = () => { shown.hidden = true; $("unseen").hidden = false; };
    shown.src = item.address;
    shown.alt = `The image ${printable(item.name)}`;
  }
  $("bars").replaceChildren(...item.predictions.map((one) =>
    make("li", {}, make("span", {}, printable(one.class)), make("span", { class: "value" }, percent(one.probability)), track(one.probability))));
  showExplanation(item);
}

// The whole image is shown; the heat map covers what the network saw of it, which is outlined where it was cropped.
function frameAs(fit, width, height) {
  const longest = Math.max(width, height);
  const [w, h] = { crop: [Math.min(width, height), Math.min(width, height)], squash: [width, height] }[fit] ?? [longest, longest];
  for (const id of ["overlay", "crop"]) {
    $(id).style.width = `${(100 * w) / longest}%`;
    $(id).style.height = `${(100 * h) / longest}%`;
  }
  $("crop").hidden = fit !== "crop" || width === height;
}

export function showExplanation(item) {
  const { overlay, neighbors } = item.explanation ?? {};
  $("overlay").hidden = $("toggle-overlay").hidden = !overlay;
  if (overlay) {
    $("overlay").src = overlay;
    $("overlay").alt = `Heat map for ${printable(item.predictions[0].class)}`;
  }
  $("near").hidden = !neighbors?.length;
  $("near").querySelector("ul").replaceChildren(...(neighbors ?? []).map((one) =>
    make("li", {}, make("img", { src: one.image, alt: "" }), make("p", {}, printable(one.class)))));
}

const keys = {
  name: (item) => item.name.toLowerCase(),
  class: (item) => item.predictions?.[0].class.toLowerCase() ?? "",
  probability: (item) => item.predictions?.[0].probability ?? -1, // errors come last
};

export function sorted(items, { by, descending }) {
  if (!by) return items;
  const key = keys[by];
  const numeric = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => (by === "probability" ? key(a) - key(b) : numeric.compare(key(a), key(b)));
  return [...items].sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
}

export function showTable(items, order, current, choose) {
  const shown = items.length > 1 || items.some((item) => item.error);
  $("batch").hidden = !shown;
  $("batch-title").textContent = items.length === 1 ? "1 image" : `${items.length} images`;
  for (const button of document.querySelectorAll("th button")) {
    const head = button.closest("th");
    if (button.dataset.sort === order.by) head.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  if (!shown) return;
  const rows = sorted(items, order).map((item) => {
    item.row ??= row(item, choose);
    if (item === current) item.row.setAttribute("aria-current", "true");
    else item.row.removeAttribute("aria-current");
    return item.row;
  });
  const body = document.querySelector("tbody");
  if (rows.length !== body.children.length || rows.some((one, i) => body.children[i] !== one)) {
    const focused = document.activeElement;
    body.replaceChildren(...rows);
    if (body.contains(focused)) focused.focus();
  }
}

function row(item, choose) {
  if (item.error) {
    return make("tr", { class: "unread" }, make("td"), make("td", {}, printable(item.name)), make("td", { colspan: 2 }, printable(item.error)));
  }
  const best = item.predictions[0];
  const image = make("img", { src: item.address, alt: "", loading: "lazy" });
  image.onerror = () => { image.removeAttribute("src"); };
  const value = make("span", {}, track(best.probability), percent(best.probability));
  const named = printable(best.class);
  const made = make("tr", {},
    make("td", {}, image), make("td", {}, make("button", { type: "button" }, printable(item.name))),
    make("td", {}, item.rejected ? `not sure (${named})` : named), make("td", { class: "number" }, value));
  made.addEventListener("click", () => choose(item));
  return made;
}

// The same columns and figures as `frostline predict --format csv`.
export function asCsv(items, rejecting) {
  const cell = (text) => {
    const safe = printable(text).replace(FORMULA, "'$&");
    return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = items.flatMap((item) => {
    const file = cell(item.name);
    if (item.error) return [[file, "", "", "", cell(item.error), ...(rejecting ? [""] : [])].join(",")];
    const extra = rejecting ? [String(item.rejected)] : [];
    return item.predictions.map((one, i) => [file, i + 1, cell(one.class), one.probability.toFixed(6), "", ...extra].join(","));
  });
  return [["file", "rank", "class", "probability", "error", ...(rejecting ? ["rejected"] : [])].join(","), ...lines, ""].join("\n");
}

export function showProgress(done, failed, total) {
  const working = done < total;
  $("progress").hidden = !working;
  $("done").style.width = `${(100 * done) / Math.max(total, 1)}%`;
  const all = total === 1 ? "1 image" : `${total} images`;
  const errors = failed ? `, ${failed} failed` : "";
  $("status").textContent = working ? `${done} of ${total} images done` : total ? `${all} done${errors}` : "";
}

export function showErrors(errors, canRetry) {
  $("errors").hidden = !errors.length;
  $("retry").hidden = !canRetry;
  $("errors").querySelector("ul").replaceChildren(...errors.map((text) => make("li", {}, printable(text))));
}
