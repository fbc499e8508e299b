// Tables (table.live) get sorting and filters, examples (div.examples) filters and pages. All of it is added here, so a
// page that runs no script shows them whole and without dead controls. Every output carries this script: it takes each
// element once, and knows no other.
(() => {
  const make = (name, text, fields) =>
    Object.assign(document.createElement(name), { textContent: text }, fields);
  const value = text => {
    const found = text.match(/^[-−+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?(?![\w.-])/i);
    return found ? Number(found[0].replace("−", "-").replaceAll(",", "")) : NaN;
  };
  const kind = text => !text ? 2 : isNaN(value(text)) ? 1 : 0; // numbers, words, blanks: in this order up and down
  const order = (one, two, sign = 1) => kind(one) - kind(two) || sign
    * (kind(one) ? one.localeCompare(two, undefined, { numeric: true }) : value(one) - value(two));

  // Choices above some parts of a page; `facets` are names and functions from a part to its text. Tells what is left.
  const filters = (bar, parts, facets, changed) => {
    const choices = facets.map(([name, text]) => {
      const known = [...new Set(parts.map(text))].filter(Boolean).sort(order);
      const select = make("select", "", { ariaLabel: name, style: "max-width: 14em", onchange: () => apply() });
      select.append(make("option", `${name}: all`, { value: "" }));
      known.forEach(one => select.append(make("option", one, { value: one })));
      if (known.length > 1) bar.append(select, " ");
      return [select, text];
    });
    const words = make("input", "", { type: "search", placeholder: "filter", ariaLabel: "filter", oninput: () => apply() });
    const count = make("small", "");
    bar.append(words, " ", count);
    const texts = new Map(parts.map(part => [part, part.textContent.toLowerCase()]));
    const apply = () => {
      const asked = words.value.toLowerCase().split(/\s+/);
      const left = parts.filter(part => asked.every(word => texts.get(part).includes(word))
        && choices.every(([select, text]) => !select.value || text(part) === select.value));
      count.textContent = `${left.length} of ${parts.length}`;
      changed(left);
    };
    apply();
  };

  const table = host => {
    const body = host.tBodies[0], rows = [...body.rows], top = [...host.tHead.rows];
    const heads = [...top.at(-1).cells], bar = make("div", "", { style: "margin: .4em 0" });
    const repeated = [...Array(Number(host.dataset.above ?? 0)).keys()];
    for (const at of repeated) // blank stands for the same as above: true only in the order written
      rows.forEach(({ cells }, i) => {
        if (i && !cells[at].textContent) cells[at].innerHTML = rows[i - 1].cells[at].innerHTML;
      });
    const texts = new Map(rows.map(row => [row, [...row.cells].map(cell => cell.textContent.trim())]));
    const text = at => row => texts.get(row)[at];
    const whole = new Map(rows.map(row => [row, repeated.map(at => row.cells[at].innerHTML)]));
    let left = rows;
    const show = () => {
      let before = [];
      [...body.rows].forEach(row => {
        row.style.display = left.includes(row) ? "" : "none";
        if (!left.includes(row)) return;
        const mine = whole.get(row), same = mine.length && mine.every((one, i) => one === before[i]);
        repeated.forEach((at, i) => { row.cells[at].innerHTML = same ? "" : mine[i]; });
        before = mine;
      });
    };
    heads.forEach((head, at) => {
      const key = text(at);
      Object.assign(head, { tabIndex: 0, onkeydown: event => event.key === "Enter" && head.click() });
      head.style.cursor = "pointer";
      head.onclick = () => { // up, down, as it was
        const next = { "": "ascending", ascending: "descending", descending: "" }[head.ariaSort ?? ""];
        heads.forEach(one => { one.ariaSort = null; });
        if (next) head.ariaSort = next;
        const sign = next === "descending" ? -1 : 1;
        body.append(...(next ? [...rows].sort((one, two) => order(key(one), key(two), sign)) : rows));
        show();
      };
    });
    const few = at => { // words of which some repeat: a task, a method, a verdict
      const known = new Set(rows.map(text(at)));
      return known.size > 1 && known.size <= Math.min(60, rows.length / 2) && [...known].every(one => isNaN(value(one)))
        && !rows[0].cells[at].classList.contains("words");
    };
    const facets = heads.flatMap((head, at) => few(at) ? [[head.textContent.trim() || "row", text(at)]] : []);
    if (top.length > 1) { // columns stand in groups: a task's can be seen alone
      const groups = [...top[0].cells].flatMap(cell => Array(cell.colSpan).fill(cell.textContent.trim()));
      const named = [...new Set(groups.slice(1))].filter(Boolean);
      const select = make("select", "", { ariaLabel: "columns" });
      select.append(make("option", "columns: all", { value: "" }));
      named.forEach(one => select.append(make("option", one, { value: one })));
      select.onchange = () => {
        const seen = at => !at || !select.value || groups[at] === select.value;
        const set = (cell, on) => { cell.style.display = on ? "" : "none"; };
        [...rows, ...top.slice(1)].forEach(row => [...row.cells].forEach((cell, at) => set(cell, seen(at))));
        [...top[0].cells].reduce((at, cell) => (set(cell, seen(at)), at + cell.colSpan), 0);
      };
      if (named.length > 1) bar.append(select, " ");
    }
    // A table of a screenful needs no search, but where there is no pointer a tap tells what hovering does.
    if (rows.length > 8) filters(bar, rows, facets, found => { left = found; show(); });
    const note = make("small", "");
    host.addEventListener("click", event => {
      const told = event.target.closest("[title]");
      if (told) note.textContent = told.title;
    });
    host.before(bar);
    host.after(note);
  };

  const examples = host => {
    const parts = [...host.querySelectorAll(".example")], size = Number(host.dataset.shown);
    const bar = make("div", "", { style: "margin: .4em 0" });
    const place = make("small", ""), step = by => () => { at += by * size; turn(); };
    const [back, on] = [["‹", -1, "previous"], ["›", 1, "next"]].map(([sign, by, name]) =>
      make("button", sign, { ariaLabel: name, type: "button", onclick: step(by) }));
    let at = 0, left = parts;
    const turn = () => {
      parts.forEach(part => { part.style.display = "none"; });
      left.slice(at, at + size).forEach(part => { part.style.display = ""; });
      back.disabled = at === 0;
      on.disabled = at + size >= left.length;
      place.textContent = left.length ? ` ${at + 1} to ${Math.min(at + size, left.length)} ` : " none ";
    };
    host.replaceChildren(bar, ...parts); // the fold goes
    const facets = Object.keys(JSON.parse(parts[0].dataset.facets)).map(name =>
      [name, part => JSON.parse(part.dataset.facets)[name] ?? ""]);
    bar.append(back, place, on, " ");
    filters(bar, parts, facets, found => { left = found; at = 0; turn(); });
  };

  const once = (what, start) => document.querySelectorAll(`${what}:not([data-live])`).forEach(host => {
    host.dataset.live = "";
    start(host);
  });
  once("table.live", table);
  once("div.examples", examples);
})();
