// The tables of samples: sorted, filtered, opened. The address keeps what is shown, as in #sort=-upper&verdict=falsified;
// keys of the second and later runs begin with their number, as in 2.sort. Data is shown as text, never as markup.
"use strict";
(() => {
  const BATCH = 1000; // rows that are made at once
  const PLACES = { index: 0, eps: 1, label: 2, prediction: 3, kind: 4, method: 5, lower: 6, upper: 7, seconds: 8,
                   attacked: 9, reason: 10, trusts: 11, implied: 12, certificate: 13, remark: 14, efforts: 15 };
  const HEADS = [["index", "sample"], ["eps", "eps"], ["label", "label"], ["prediction", "predicted"],
                 ["verdict", "verdict"], ["method", "method"], ["lower", "attack ≤"], ["upper", "v* ≤ certificate"],
                 ["seconds", "seconds"]];
  const WORDS = { unknown: "undecided" };
  const FILTERS = ["verdict", "method", "label", "eps", "q"];

  const make = (tag, text, style) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (style) element.className = style;
    return element;
  };
  const minus = (text) => text.replace(/-/g, "\u2212");
  const decimal = (value, infinite) => (value === null ? infinite : minus(Number(value.toPrecision(4)).toString()));

  class Explorer {
    constructor(root, number, data) {
      Object.assign(this, { root, data, prefix: number ? `${number + 1}.` : "", number });
      this.form = root.querySelector("form");
      this.body = root.querySelector(".samples tbody");
      this.more = root.querySelector(".more");
      this.count = root.querySelector(".count");
      this.heads = HEADS.filter(([name]) => name !== "eps" || data.eps.length > 1);
      this.state = {};
      this.drawHeads();
      this.listen();
      root.hidden = false;
    }

    value(row, name) {
      const { texts, kinds, eps } = this.data;
      if (name === "verdict") return kinds[row[PLACES.kind]];
      if (name === "eps") return eps[row[PLACES.eps]];
      const entry = row[PLACES[name]];
      return ["method", "reason", "trusts", "implied", "certificate", "remark"].includes(name) ? texts[entry] : entry;
    }

    drawHeads() {
      const line = make("tr");
      for (const [name, title] of this.heads) {
        const head = make("th", undefined, ["verdict", "method"].includes(name) ? "word" : "");
        head.scope = "col";
        head.dataset.name = name;
        const button = make("button", title);
        button.type = "button";
        button.addEventListener("click", () => {
          const same = this.state.sort === name;
          this.go({ sort: same ? `-${name}` : name });
        });
        head.append(button);
        line.append(head);
      }
      this.root.querySelector("thead").append(line);
    }

    listen() {
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.form.addEventListener("reset", () => this.go(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
      for (const name of FILTERS) {
        const field = this.form.elements[name];
        if (field) field.addEventListener("input", () => this.go({ [name]: field.value }));
      }
      this.body.addEventListener("click", (event) => {
        const line = event.target.closest("tr.row");
        if (line && !getSelection().toString()) this.toggle(line);
      });
      this.more.addEventListener("click", () => this.draw());
      new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && this.draw(), { rootMargin: "600px" })
        .observe(this.more);
    }

    // takes what the address says of this table
    read(address) {
      const names = ["sort", "open", ...FILTERS];
      const before = JSON.stringify(this.state);
      this.state = Object.fromEntries(names.map((name) => [name, address.get(this.prefix + name) || ""]));
      for (const name of FILTERS) {
        const field = this.form.elements[name];
        if (field && field.value !== this.state[name]) field.value = this.state[name];
      }
      if (JSON.stringify(this.state) !== before) this.show();
    }

    go(change) {
      Object.assign(this.state, change);
      remember(this.prefix, this.state);
      this.show();
    }

    matches(row) {
      const { verdict, method, label, eps, q } = this.state;
      if (verdict && this.value(row, "verdict") !== verdict) return false;
      if (method && this.value(row, "method") !== method) return false;
      if (label && String(row[PLACES.label]) !== label) return false;
      if (eps && this.value(row, "eps") !== eps) return false;
      if (!q) return true;
      const names = ["index", "verdict", "method", "reason", "trusts", "implied", "certificate", "remark"];
      const text = names.map((name) => WORDS[this.value(row, name)] || this.value(row, name)).join("\n");
      return text.toLowerCase().includes(q.toLowerCase());
    }

    // numbers as numbers, verdicts from good to bad, what is absent last in either direction
    sorted(found) {
      const name = this.state.sort.replace(/^-/, ""), sign = this.state.sort.startsWith("-") ? -1 : 1;
      if (!HEADS.some(([known]) => known === name)) return found;
      const key = (k) => {
        const row = this.data.rows[k];
        if (name === "verdict") return row[PLACES.kind];
        return name === "method" ? this.value(row, name) || null : row[PLACES[name]];
      };
      return found.map((k) => [key(k), k]).sort(([a, i], [b, j]) => {
        if (a === b) return i - j;
        if (a === null || b === null) return a === null ? 1 : -1;
        return (a < b ? -sign : sign);
      }).map(([, k]) => k);
    }

    show() {
      const all = this.data.rows.map((_, k) => k);
      this.found = this.sorted(all.filter((k) => this.matches(this.data.rows[k])));
      this.drawn = 0;
      this.body.replaceChildren();
      for (const head of this.root.querySelectorAll("thead th")) {
        const name = this.state.sort.replace(/^-/, "");
        head.removeAttribute("aria-sort");
        if (head.dataset.name === name) {
          head.setAttribute("aria-sort", this.state.sort.startsWith("-") ? "descending" : "ascending");
        }
      }
      const total = all.length;
      this.count.textContent = this.found.length === total ? `${total} rows` : `${this.found.length} of ${total} rows`;
      this.draw();
      const opened = this.body.querySelector(`tr[data-id="${CSS.escape(this.state.open)}"]`);
      if (this.state.open && opened) this.toggle(opened);
    }

    draw() {
      const some = this.found.slice(this.drawn, this.drawn + BATCH);
      const lines = document.createDocumentFragment();
      for (const k of some) lines.append(this.line(k));
      this.body.append(lines);
      this.drawn += some.length;
      this.more.hidden = this.drawn >= this.found.length;
    }

    line(k) {
      const row = this.data.rows[k], line = make("tr", undefined, "row");
      line.dataset.row = k;
      line.dataset.id = row[PLACES.index] + (this.data.eps.length > 1 ? `@${this.value(row, "eps")}` : "");
      for (const [name] of this.heads) line.append(this.cell(row, name));
      return line;
    }

    cell(row, name) {
      const value = this.value(row, name);
      if (name === "index") {
        const cell = make("td"), button = make("button", value);
        button.type = "button";
        button.setAttribute("aria-expanded", "false");
        cell.append(button);
        return cell;
      }
      if (name === "verdict") {
        const cell = make("td", undefined, "word");
        cell.append(make("i", undefined, `fill ${value}`), WORDS[value] || value);
        return cell;
      }
      if (name === "lower") return make("td", decimal(value, "\u2212∞"));
      if (name === "upper") return make("td", decimal(value, "∞"));
      if (name === "seconds") return make("td", value === null ? "–" : value.toFixed(value < 1 ? 3 : 2));
      if (name === "method") return make("td", value || "–", "word");
      if (name === "prediction" && row[PLACES.attacked] !== null) return make("td", `${value} → ${row[PLACES.attacked]}`);
      return make("td", value === null ? "–" : value);
    }

    toggle(line) {
      const button = line.querySelector("button"), open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) {
        line.nextSibling.remove();
      } else {
        const detail = make("tr", undefined, "detail"), cell = make("td");
        cell.colSpan = this.heads.length;
        this.fill(cell, Number(line.dataset.row));
        detail.append(cell);
        line.after(detail);
      }
      this.state.open = open ? "" : line.dataset.id;
      remember(this.prefix, this.state);
    }

    // the row whose witness a row stands on: its own, or that of the same sample at another eps
    source(k) {
      const { rows, eps } = this.data;
      let at = k;
      for (let step = 0; step < eps.length && this.value(rows[at], "implied"); step += 1) {
        const other = eps.indexOf(this.value(rows[at], "implied"));
        const next = rows.findIndex((row) => row[PLACES.index] === rows[k][PLACES.index] && row[PLACES.eps] === other);
        if (next < 0) break;
        at = next;
      }
      return at;
    }

    // what a row has to say beyond its cells
    fill(cell, k) {
      const row = this.data.rows[k];
      const said = { reason: "", trusts: "trusts ", implied: "follows from eps ", certificate: "certificate ",
                     remark: "the witness " };
      for (const [name, lead] of Object.entries(said)) {
        const text = this.value(row, name);
        if (text) cell.append(make("p", lead + text));
      }
      const efforts = this.data.methods.map((name, m) => [name, row[PLACES.efforts][m]]).filter(([, found]) => found);
      if (efforts.length) {
        const bounds = efforts.map(([name, [lower, upper, seconds, memory]]) => [
          name, decimal(lower, "\u2212∞"), decimal(upper, "∞"), seconds === null ? "–" : seconds.toFixed(4),
          memory === null ? "–" : memory.toFixed(0)]);
        cell.append(table(["method", "attack ≤", "v* ≤ certificate", "seconds", "peak MiB"], bounds));
      }
      const at = this.source(k), card = document.getElementById(`run${this.number + 1}-row${at}`);
      const shown = card && card.querySelector(".panels, .changes");
      if (shown) cell.append(shown.cloneNode(true));
      else if (this.data.pictures[at]) cell.append(panels(this.data.pictures[at]));
      else if (this.data.changes[at]) cell.append(table(["coordinate", "before", "after"], this.data.changes[at]));
    }
  }

  function table(heads, rows) {
    const whole = make("table"), head = make("thead"), body = make("tbody"), first = make("tr");
    for (const title of heads) first.append(make("th", title));
    head.append(first);
    for (const row of rows) {
      const line = make("tr");
      for (const value of row) line.append(make("td", value));
      body.append(line);
    }
    whole.append(head, body);
    return whole;
  }

  function panels([sample, perturbed, change, factor]) {
    const all = make("div", undefined, "panels");
    for (const [source, name] of [[sample, "sample"], [perturbed, "perturbed"], [change, `change ×\u202f${factor}`]]) {
      if (!source) continue;
      const figure = make("figure"), image = make("img");
      image.alt = name;
      image.src = source;
      figure.append(image, make("figcaption", name));
      all.append(figure);
    }
    return all;
  }

  const address = () => new URLSearchParams(location.hash.slice(1));

  function remember(prefix, state) {
    const now = location.hash.includes("=") ? address() : new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      if (value) now.set(prefix + name, value);
      else now.delete(prefix + name);
    }
    history.replaceState(null, "", `#${now}`);
  }

  const data = JSON.parse(document.getElementById("data").textContent);
  const roots = [...document.querySelectorAll(".explorer")];
  const explorers = roots.map((root, number) => new Explorer(root, number, data[number]));
  const readAll = () => explorers.forEach((explorer) => explorer.read(address()));
  readAll();
  addEventListener("hashchange", () => location.hash.includes("=") && readAll());
  document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds since the page was asked for
})();
