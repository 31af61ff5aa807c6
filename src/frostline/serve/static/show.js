// What is seen: the answer to one picture, the table of all, and the table as CSV.

const $ = (id) => document.getElementById(id);
const percent = (p) => (100 * p).toFixed(p < 0.9995 ? 1 : 2) + " %";

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

export function showAnswer(item) {
  $("detail").hidden = !item;
  if (!item) return;
  $("name").textContent = item.name;
  $("answer").textContent = item.predictions[0].class;
  const shown = $("shown");
  if (shown.getAttribute("src") !== item.address) {
    $("unseen").hidden = true;
    shown.hidden = false;
    shown.onload = () => shown.classList.toggle("small", shown.naturalWidth <= 64);
    shown.onerror = () => { shown.hidden = true; $("unseen").hidden = false; };
    shown.src = item.address;
    shown.alt = `The picture ${item.name}`;
  }
  $("bars").replaceChildren(...item.predictions.map((one) =>
    make("li", {}, make("span", {}, one.class), make("span", { class: "value" }, percent(one.probability)), track(one.probability))));
  showWhy(item);
}

export function showWhy(item) {
  const { overlay, neighbours } = item.why ?? {};
  $("overlay").hidden = $("look").hidden = !overlay;
  if (overlay) {
    $("overlay").src = overlay;
    $("overlay").alt = `Where the model looked to see ${item.predictions[0].class}`;
  }
  $("near").hidden = !neighbours?.length;
  $("near").querySelector("ul").replaceChildren(...(neighbours ?? []).map((one) =>
    make("li", {}, make("img", { src: one.picture, alt: "" }), make("p", {}, one.class))));
}

const keys = {
  name: (item) => item.name.toLowerCase(),
  class: (item) => item.predictions[0].class.toLowerCase(),
  probability: (item) => item.predictions[0].probability,
};

export function sorted(items, { by, descending }) {
  if (!by) return items;
  const key = keys[by];
  const numeric = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => (by === "probability" ? key(a) - key(b) : numeric.compare(key(a), key(b)));
  return [...items].sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
}

export function showTable(items, order, current, choose) {
  $("batch").hidden = items.length < 2;
  $("batch-title").textContent = `${items.length} pictures`;
  for (const button of document.querySelectorAll("th button")) {
    const head = button.closest("th");
    if (button.dataset.sort === order.by) head.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  if (items.length < 2) return;
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
  const best = item.predictions[0];
  const picture = make("img", { src: item.address, alt: "", loading: "lazy" });
  picture.onerror = () => { picture.removeAttribute("src"); };
  const value = make("span", {}, track(best.probability), percent(best.probability));
  const made = make("tr", {},
    make("td", {}, picture), make("td", {}, make("button", { type: "button" }, item.name)),
    make("td", {}, best.class), make("td", { class: "number" }, value));
  made.addEventListener("click", () => choose(item));
  return made;
}

// The same columns and figures as `frostline predict --format csv`.
export function asCsv(items) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = items.flatMap((item) => item.predictions.map((one, i) =>
    [quoted(item.name), i + 1, quoted(one.class), one.probability.toFixed(6)].join(",")));
  return ["file,rank,class,probability", ...lines, ""].join("\n");
}

export function showProgress(done, total) {
  const working = done < total;
  $("progress").hidden = !working;
  $("done").style.width = `${(100 * done) / Math.max(total, 1)}%`;
  $("status").textContent = working ? `${done} of ${total} pictures done` : total ? `${total === 1 ? "1 picture" : `${total} pictures`} done` : "";
}

export function showTroubles(troubles, canRetry) {
  $("troubles").hidden = !troubles.length;
  $("retry").hidden = !canRetry;
  $("troubles").querySelector("ul").replaceChildren(...troubles.map((text) => make("li", {}, text)));
}
