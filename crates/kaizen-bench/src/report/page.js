// Adds a button to each heading of a table marked `data-sort`; without this script the table stays
// as it is written. Written without the characters that XML reserves.
for (const table of document.querySelectorAll('table[data-sort]')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.getAttribute('aria-sort') === 'descending' || (head.ariaSort === null ? !head.classList.contains('n') : false);
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[column].dataset.k;
      const order = (a, b) => head.classList.contains('n') ? key(a) - key(b) : a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      const gone = row => head.classList.contains('n') ? key(row) === undefined : false;
      body.append(...[...body.rows].sort((a, b) => gone(a) - gone(b) || (up ? order(a, b) : order(b, a))));
    };
  });
}
