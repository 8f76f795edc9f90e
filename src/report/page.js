const body = document.querySelector("tbody");
if (body) {
  const key = (row, at) => row.cells[at].dataset.key ?? row.cells[at].textContent;
  document.querySelectorAll("th").forEach((head, at) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => key(a, at).localeCompare(key(b, at), undefined, { numeric: true }));
    body.append(...(down ? rows.reverse() : rows));
  }));
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = filter.value ? shown + " shown" : "";
  });
}
