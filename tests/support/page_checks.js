// What the browser tests of the officer's page measure: `(this file).contrast()` and so on; each gives what is wrong.
({
  // text against the first painted background below it, as WCAG 2.2 computes contrast; less than 4.5
  contrast() {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (text) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ratio = (one, other) => {
      const [a, b] = [light(rgba(one)), light(rgba(other))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const behind = (one) => {
      for (let node = one; node; node = node.parentElement) {
        const colour = getComputedStyle(node).backgroundColor;
        if (rgba(colour)[3] === 255) return colour;
      }
      return "white";
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
      const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!text || one.getBoundingClientRect().width < 2 || one.closest("svg, option, .hidden, .skip")) continue;
      const measured = ratio(getComputedStyle(one).color, behind(one));
      if (measured < 4.5) found.push([one.outerHTML.slice(0, 100), measured.toFixed(2)]);
    }
    for (const one of document.querySelectorAll("svg text")) {
      const box = one.closest("a").querySelector("rect");
      const measured = ratio(getComputedStyle(one).fill, getComputedStyle(box).fill);
      if (measured < 4.5) found.push([one.outerHTML.slice(0, 100), measured.toFixed(2)]);
    }
    return found;
  },

  // one h1, headings in order, landmarks, names of fields, heads of tables, unique ids
  structure() {
    const wrong = [];
    const all = (selector) => [...document.querySelectorAll(selector)];
    const levels = all("h1, h2, h3, h4").filter((one) => one.offsetParent).map((one) => +one.tagName[1]);
    if (levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1) wrong.push("h1");
    levels.forEach((level, place) => {
      if (place && level > levels[place - 1] + 1) wrong.push(`h${level} after h${levels[place - 1]}`);
    });
    for (const name of ["header", "main", "footer"]) if (all(`body > ${name}`).length !== 1) wrong.push(name);
    for (const nav of all("nav")) if (!nav.getAttribute("aria-label")) wrong.push("nav");
    for (const field of all("input:not([type=hidden]), select, textarea"))
      if (!field.labels.length && !field.getAttribute("aria-label")) wrong.push(field.outerHTML);
    for (const table of all("table")) {
      if (!table.querySelector("thead th[scope=col]")) wrong.push("a table without heads");
      for (const row of table.querySelectorAll("tbody tr"))
        if (!row.querySelector("th[scope=row]")) wrong.push(row.outerHTML.slice(0, 90));
    }
    const ids = all("[id]").map((one) => one.id);
    if (new Set(ids).size !== ids.length) wrong.push("an id twice");
    for (const name of ["aria-labelledby", "aria-describedby"])
      for (const one of all(`[${name}]`))
        for (const id of one.getAttribute(name).trim().split(/\s+/))
          if (!document.getElementById(id)) wrong.push(`no ${id}`);
    if (!document.documentElement.lang) wrong.push("lang");
    if (!document.title.trim()) wrong.push("title");
    return wrong;
  },

  // elements that make the page wider than its window; boxes that scroll by themselves apart
  overflow() {
    const wide = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= wide) return [];
    return [...document.querySelectorAll("main *, header *, footer *")]
      .filter((one) => one.getBoundingClientRect().right > wide + 1 && !one.closest(".wide, pre"))
      .map((one) => one.outerHTML.slice(0, 120));
  },

  // how many places of the content the Tab key must visit
  stops() {
    const selector = "main a[href], main button, main select, main summary, main [tabindex='0']";
    const seen = (one) => one.checkVisibility() || one.namespaceURI.endsWith("svg");
    return [...document.querySelectorAll(selector)].filter(seen).length;
  },

  // the place that has the focus: inside of the content, visibly marked, what it is
  focus() {
    const one = document.activeElement;
    const shape = one.querySelector(":scope > rect");
    const style = getComputedStyle(shape || one);
    const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const marked = shape ? parseFloat(style.strokeWidth) >= 4 : ringed;
    return [one.closest("main") !== null, marked, one.outerHTML.slice(0, 100)];
  },
})
