"use strict";
// Verdicts on suspected labels: kept while the page is open, and in local storage where the browser has it.
{
  const list = document.getElementById("suspects");
  const cards = [...list.children];
  const key = "frostline-audit-" + list.dataset.audit;
  const names = ["accepted", "rejected"];
  let verdicts = {};

  try {
    const stored = JSON.parse(localStorage.getItem(key) || "{}");
    for (const [number, verdict] of Object.entries(stored))
      if (cards[number] && names.includes(verdict)) verdicts[number] = verdict;
  } catch {
    verdicts = {}; // no storage for this page
  }

  const store = () => {
    try {
      localStorage.setItem(key, JSON.stringify(verdicts));
    } catch {
      // kept in the page alone
    }
  };

  const show = () => {
    const count = { accepted: 0, rejected: 0 };
    cards.forEach((card, number) => {
      const verdict = verdicts[number];
      if (verdict) count[verdict] += 1;
      card.dataset.verdict = verdict || "";
      for (const button of card.querySelectorAll("button"))
        button.setAttribute("aria-pressed", String(button.value === verdict));
    });
    const open = cards.length - count.accepted - count.rejected;
    document.getElementById("counts").textContent =
      `${count.accepted} accepted, ${count.rejected} rejected, ${open} open`;
    document.getElementById("save").disabled = open === cards.length;
  };

  const decide = (card, verdict) => {
    const number = cards.indexOf(card);
    if (verdicts[number] === verdict) delete verdicts[number];
    else verdicts[number] = verdict;
    store();
    show();
  };

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) decide(button.closest("li"), button.value);
  });

  // A and R in a card decide and move on to the next one; the arrow keys move only.
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const card = event.target.closest("li");
    const verdict = { a: "accepted", r: "rejected" }[event.key.toLowerCase()];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] || (verdict ? 1 : 0);
    if (!card || !step) return;
    event.preventDefault();
    if (verdict && verdicts[cards.indexOf(card)] !== verdict) decide(card, verdict);
    const next = cards[cards.indexOf(card) + step];
    if (next) next.querySelector("button").focus();
  });

  document.getElementById("save").addEventListener("click", () => {
    const lines = cards.map((card, number) => (verdicts[number] ? card.dataset[verdicts[number]] : ""));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([list.dataset.header, ...lines], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  for (const hidden of document.querySelectorAll("#verdicts, #suspects .decide")) hidden.hidden = false;
  show();
}
