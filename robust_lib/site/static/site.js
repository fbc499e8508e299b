// The lists of cells and claims: a box for words, a choice for each column that asks for one, sorting by the head.
for (const table of document.querySelectorAll("table.records")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
  const controls = Object.assign(document.createElement("div"), { className: "controls" });
  const words = Object.assign(document.createElement("input"), { type: "search", placeholder: "filter by words" });
  const shown = document.createElement("output");
  const choices = heads.flatMap((head, i) => {
    if (!("choice" in head.dataset)) return [];
    const select = document.createElement("select");
    select.add(new Option(`${head.textContent}: all`, ""));
    for (const one of new Set(rows.map((row) => value(row, i)))) select.add(new Option(one, one));
    return [{ select, i }];
  });

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every((one) => text.includes(one))
        && choices.every(({ select, i }) => !select.value || select.value === value(row, i)));
    }
    shown.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  }

  function sort(head, i) {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = new Intl.Collator("en", { numeric: true });
    const number = (row) => parseFloat(value(row, i));
    const numeric = rows.every((row) => value(row, i) === "" || !isNaN(value(row, i)));
    const compare = (a, b) => numeric ? number(a) - number(b) : order.compare(value(a, i), value(b, i));
    const empty = (row) => value(row, i) === "";
    body.append(...rows.sort((a, b) => empty(a) - empty(b) || (down ? -1 : 1) * (compare(a, b) || 0)));
  }

  controls.append(words, ...choices.map(({ select }) => select), shown);
  table.parentElement.before(controls);
  controls.addEventListener("input", filter);
  heads.forEach((head, i) => head.addEventListener("click", () => sort(head, i)));
  filter();
}
