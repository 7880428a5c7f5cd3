// Draws what Sphinx marks as formulas, \(...\) in a line and \[...\] on lines of its own, by KaTeX,
// which only pages with formulas load. One that is wider than the page scrolls, by keys as well.
document.addEventListener("DOMContentLoaded", async () => {
  for (const place of document.querySelectorAll(".math"))
    for (const node of [...place.childNodes]) {
      const found = /^\s*\\([([])([^]*)\\[)\]]\s*$/.exec(node.data ?? "");
      if (!found) continue;
      const drawn = document.createElement("span");
      drawn.className = "formula";
      katex.render(found[2], drawn, { displayMode: found[1] === "[", throwOnError: false });
      node.replaceWith(drawn);
    }
  await document.fonts.ready;
  for (const drawn of document.querySelectorAll("div.math > .formula"))
    if (drawn.scrollWidth > drawn.clientWidth) drawn.tabIndex = 0;
});
