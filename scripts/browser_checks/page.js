// What is wrong with how the page that is open looks: text of too little contrast, things that stick out.
(() => {
  const wrong = [];
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) {
    const out = [...document.querySelectorAll("main *, header *")].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.right > page.clientWidth + 1 && !one.closest(".scroll, pre, figure, nav, .log, .unseen, .skip");
    });
    wrong.push(`${page.scrollWidth} px in ${page.clientWidth}: ${out.slice(0, 3).map((one) => one.outerHTML.slice(0, 90))}`);
  }
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const over = (top, below) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha));
  };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, noscript, [hidden], .unseen, .skip, option, svg")) continue;
    if (!element.checkVisibility?.()) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [a, b] = [light(over(parse(style.color), below)), light(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const key = `${style.color} on ${below.map(Math.round)}`;
    if (ratio < (isLarge ? 3 : 4.5) && !seen.has(key)) {
      seen.add(key);
      wrong.push(`contrast ${ratio.toFixed(2)}: ${key}: '${node.textContent.trim().slice(0, 40)}'`);
    }
  }
  for (const input of document.querySelectorAll("input:not([type=hidden]), select")) {
    if (!input.labels?.length) wrong.push(`no label: ${input.outerHTML}`);
  }
  // labels of a plot must not lie on one another
  const texts = [...document.querySelectorAll("svg text")].map((one) => [one, one.getBoundingClientRect()]);
  for (const [i, [one, box]] of texts.entries()) {
    for (const [other, next] of texts.slice(i + 1)) {
      const across = Math.min(box.right, next.right) - Math.max(box.left, next.left);
      const upright = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
      if (one.ownerSVGElement === other.ownerSVGElement && across > 1 && upright > 3) {
        wrong.push(`'${one.textContent}' lies on '${other.textContent}'`);
      }
    }
  }
  return wrong;
})()
