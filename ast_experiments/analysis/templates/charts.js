"use strict";
// Below each chart: its image, its data, a table. On hover: the values. Without this script the charts are the same.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const NEAR = 24;
  const light = {};
  for (const rule of document.styleSheets[0].cssRules) {
    if (rule.selectorText !== ":root") continue;
    for (const name of rule.style) if (name.startsWith("--")) light[name] = rule.style.getPropertyValue(name).trim();
    break;
  }
  const make = (tag, parent, text) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const shown = (value) =>
    value === null ? "" : Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3) ? value.toExponential(3)
      : Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 });

  // --- Files

  const save = (name, blob) => {
    const link = make("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const standalone = (svg) => {
    const copy = svg.cloneNode(true);
    for (const mark of copy.querySelectorAll(".hover")) mark.remove();
    const { width, height } = svg.viewBox.baseVal;
    copy.setAttribute("width", `${width}pt`);
    copy.setAttribute("height", `${height}pt`);
    const style = document.createElementNS(SVG, "style");
    style.textContent = `text { font-family: Helvetica, Arial, sans-serif; fill: ${light["--ink"]}; }`;
    copy.prepend(style);
    return new XMLSerializer().serializeToString(copy).replace(/var\((--\w+)\)/g, (_, name) => light[name] || "#000");
  };
  const saveImage = (svg, name) => {
    const { width, height } = svg.viewBox.baseVal;
    const image = new Image();
    image.onload = () => {
      const canvas = make("canvas");
      canvas.width = 4 * width;
      canvas.height = 4 * height;
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(name, blob));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(svg))}`;
  };

  // --- Data: a heading and rows of name, x, y and the ends of an interval

  const barred = (data) => data.series.some((each) => each.kind === "bars");
  const level = (data, y) => (data.rows.length ? data.rows[Math.round(y)] ?? "" : y);
  const table = (data) => {
    if (data.cells) return [[data.x.label, data.y.label, data.cells.name], ...data.cells.values];
    const bars = barred(data);
    const ends = data.series.some((each) => each.low);
    const head = bars ? ["row", "part", data.x.label] : ["series", data.x.label || "x", data.y.label || (data.rows.length ? "row" : "y")];
    if (ends) head.push("low", "high");
    const rows = data.series.flatMap((each) =>
      each.x.map((x, i) =>
        bars ? [data.rows[i], each.name, x] : [each.name, x, level(data, each.y[i]), ...(ends ? [each.low?.[i] ?? null, each.high?.[i] ?? null] : [])]));
    return [head, ...rows];
  };
  const quoted = (value) => (value === null ? "" : /[",\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : value);
  const toggleTable = (figure, data) => {
    const old = figure.querySelector(".data");
    if (old) return old.remove();
    const box = make("div", figure);
    box.className = "scroll data";
    const drawn = make("table", box);
    table(data).forEach((cells, i) => {
      const row = make("tr", drawn);
      for (const cell of cells) make(i ? "td" : "th", row, typeof cell === "number" ? shown(cell) : cell ?? "");
    });
  };

  // --- Hover

  const tip = make("div", document.body);
  tip.className = "tip";
  tip.hidden = true;
  const place = (value, axis, from, to) => {
    const scale = axis.log ? Math.log : (x) => x;
    return from + ((scale(value) - scale(axis.low)) / (scale(axis.high) - scale(axis.low))) * (to - from);
  };
  const nearest = (data, at) => {
    const [left, top, right, bottom] = data.frame;
    const x = (value) => place(value, data.x, left, right);
    const y = (value) => place(value, data.y, bottom, top);
    if (data.cells) {
      const step = (axis, share) => Math.round(axis.low + share * (axis.high - axis.low));
      const column = data.columns[step(data.x, (at.x - left) / (right - left))];
      const row = data.rows[step(data.y, (bottom - at.y) / (bottom - top))];
      const cell = data.cells.values.find(([one, other]) => one === column && other === row);
      return cell ? { lines: [`${data.x.label} ${column}, ${data.y.label} ${row}`, `${data.cells.name}: ${cell[2]}`] } : null;
    }
    if (barred(data)) {
      const row = Math.round(data.y.low + ((bottom - at.y) / (bottom - top)) * (data.y.high - data.y.low));
      if (!(row in data.rows)) return null;
      const parts = data.series.filter((each) => each.x[row]).map((each) => `${each.name}: ${shown(each.x[row])}`);
      return { lines: [data.rows[row], ...parts] };
    }
    let best = { distance: NEAR };
    const curves = [];
    for (const each of data.series) {
      let close = null;
      each.x.forEach((value, i) => {
        if (value === null || each.y[i] === null) return;
        const across = Math.abs(x(value) - at.x);
        const distance = each.kind === "points" ? Math.hypot(across, y(each.y[i]) - at.y) : across;
        if (!close || distance < close.distance) close = { distance, i, each, px: x(value), py: y(each.y[i]) };
      });
      if (!close || close.distance > NEAR) continue;
      if (each.kind === "points") { if (close.distance < best.distance) best = close; } else curves.push(close);
    }
    if (best.each) {
      const { each, i } = best;
      const ends = each.low ? ` [${shown(each.low[i])}, ${shown(each.high[i])}]` : "";
      const lines = [each.name, `${data.x.label || "x"}: ${shown(each.x[i])}${data.rows.length ? ends : ""}`];
      if (data.rows.length) lines.unshift(level(data, each.y[i]));
      else lines.push(`${data.y.label || "y"}: ${shown(each.y[i])}${ends}`);
      return { marks: [best], lines: [...new Set(lines)] };
    }
    if (!curves.length) return null;
    const lead = curves.reduce((a, b) => (b.distance < a.distance ? b : a));
    const values = curves.slice(0, 10).map(({ each, i }) => `${each.name}: ${shown(each.y[i])}`);
    return { marks: curves, lines: [`${data.x.label || "x"} ${shown(lead.each.x[lead.i])}`, ...values] };
  };
  const hover = (svg, data) => {
    const clear = () => {
      tip.hidden = true;
      for (const mark of svg.querySelectorAll(".hover")) mark.remove();
    };
    svg.addEventListener("pointermove", (event) => {
      clear();
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const at = { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
      const [left, top, right, bottom] = data.frame;
      if (at.x < left - 4 || at.x > right + 4 || at.y < top - 4 || at.y > bottom + 4) return;
      const found = nearest(data, at);
      if (!found) return;
      for (const { px, py } of found.marks || []) {
        const mark = document.createElementNS(SVG, "circle");
        mark.setAttribute("class", "hover");
        mark.setAttribute("cx", px);
        mark.setAttribute("cy", py);
        mark.setAttribute("r", 3);
        svg.append(mark);
      }
      tip.replaceChildren(...found.lines.map((line) => make("div", null, line)));
      tip.hidden = false;
      tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
    });
    svg.addEventListener("pointerleave", clear);
  };

  for (const figure of document.querySelectorAll("figure")) {
    const svg = figure.querySelector("svg");
    if (!svg) continue;
    const source = figure.querySelector('script[type="application/json"]');
    const data = source && JSON.parse(source.textContent);
    const title = figure.querySelector("figcaption").firstChild.textContent.trim();
    const name = title.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "") || "chart";
    const bar = make("div", figure);
    bar.className = "tools";
    const add = (label, help, act) => {
      const button = make("button", bar, label);
      button.type = "button";
      button.title = help;
      button.setAttribute("aria-label", `${title}: ${help}`);
      button.addEventListener("click", act);
    };
    add("SVG", "download the image as SVG", () => save(`${name}.svg`, new Blob([standalone(svg)], { type: "image/svg+xml" })));
    add("PNG", "download the image as PNG", () => saveImage(svg, `${name}.png`));
    if (!data) continue;
    add("CSV", "download the data as CSV", () =>
      save(`${name}.csv`, new Blob([table(data).map((row) => row.map(quoted).join(",")).join("\n") + "\n"], { type: "text/csv" })));
    add("table", "show the data as a table", () => toggleTable(figure, data));
    hover(svg, data);
  }
})();
