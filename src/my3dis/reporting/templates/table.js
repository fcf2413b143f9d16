"use strict";
(() => {
  const table = document.getElementById("scenes-table");
  const box = document.getElementById("filter");
  const said = document.getElementById("shown");
  const choices = [...document.querySelectorAll("select[data-of]")];
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const state = new URLSearchParams(location.hash.slice(1));

  const keep = () => history.replaceState(null, "", "#" + state.toString());

  const filter = () => {
    const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter((choice) => choice.value);
    let shown = 0;
    for (const row of rows) {
      const text = words.get(row);
      row.hidden = !wanted.every((word) => text.includes(word))
        || !chosen.every((choice) => row.dataset[choice.dataset.of] === choice.value);
      shown += row.hidden ? 0 : 1;
    }
    said.textContent = wanted.length || chosen.length ? `${shown} of ${rows.length} shown` : "";
  };

  const sort = (column, descending) => {
    const key = (row) => {
      const cell = row.cells[column];
      return "v" in cell.dataset ? cell.dataset.v : cell.textContent.trim();
    };
    const keyed = rows.map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what is unknown stands last
      const order = isNaN(a) || isNaN(b)
        ? a.localeCompare(b, undefined, { numeric: true }) : Number(a) - Number(b);
      return descending ? -order : order;
    });
    body.append(...keyed.map(([, row]) => row));
    heads.forEach((head, n) => {
      if (n === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  heads.forEach((head, column) => {
    head.querySelector(".sort").addEventListener("click", () => {
      // Figures are looked at from the largest down, names from the first on.
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : column > 0 && !head.matches(".text");
      state.set("sort", `${column}${descending ? "d" : "a"}`);
      keep();
      sort(column, descending);
    });
  });
  box.addEventListener("input", () => { state.set("find", box.value); keep(); filter(); });

  for (const choice of choices) {
    choice.addEventListener("change", () => { state.set(choice.dataset.of, choice.value); keep(); filter(); });
  }

  const kept = /^(\d+)([ad])$/.exec(state.get("sort") || "");
  if (kept && Number(kept[1]) < heads.length) sort(Number(kept[1]), kept[2] === "d");
  box.value = state.get("find") || "";
  for (const choice of choices) {
    const value = state.get(choice.dataset.of) || "";
    if ([...choice.options].some((option) => option.value === value)) choice.value = value;
  }
  filter();
  const again = Number(document.documentElement.dataset.alive);
  if (again) {
    const busy = () => document.hidden || [box, ...choices].includes(document.activeElement);
    setInterval(() => { if (!busy()) location.reload(); }, again * 1000);
  }
})();
