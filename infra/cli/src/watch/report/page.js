'use strict';
// Filters, sorts and changes colours. Without it the page says the same.
(() => {
  const byId = (id) => document.getElementById(id);
  const collator = new Intl.Collator('en', { numeric: true });

  // Colours: as the system has them, until somebody chooses.
  const theme = byId('theme');
  const root = document.documentElement;
  const prefersDark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (root.style.colorScheme || (prefersDark.matches ? 'dark' : 'light')) === 'dark';
  const nameTheme = () => { theme.textContent = isDark() ? 'Light colours' : 'Dark colours'; };
  theme.addEventListener('click', () => {
    root.style.colorScheme = isDark() ? 'light' : 'dark';
    nameTheme();
  });
  prefersDark.addEventListener('change', nameTheme);
  nameTheme();
  theme.hidden = false;

  // Sorting: a button in each column's header. A cell's key is its number or its text.
  const key = (cell) => cell.dataset.key ?? cell.textContent.replaceAll(',', '');
  const sortBy = (table, header) => {
    const direction = header.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    header.setAttribute('aria-sort', direction);
    const sign = direction === 'ascending' ? 1 : -1;
    const body = table.tBodies[0];
    const column = header.cellIndex;
    const rows = Array.from(body.rows, (row) => ({ row, key: key(row.cells[column]) }));
    // What has nothing in this column comes last, whichever way.
    rows.sort((a, b) => (a.key === '') - (b.key === '') || sign * collator.compare(a.key, b.key));
    body.replaceChildren(...rows.map(({ row }) => row));
  };
  for (const table of document.querySelectorAll('table')) {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener('click', () => sortBy(table, header));
    }
  }

  // Filtering: every word must be in the row, and the row of the state or the reason that is chosen.
  const text = byId('text');
  const which = byId('which');
  const rows = Array.from(byId('all-table').tBodies[0].rows);
  let words = null;
  const filter = () => {
    words ??= rows.map((row) => Array.from(row.cells, (cell) => cell.textContent).join(' ').toLowerCase());
    const wanted = text.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    const chosen = which.value;
    let shown = 0;
    rows.forEach((row, number) => {
      const fits = (chosen === '' || row.dataset.state === chosen || row.dataset.group === chosen)
        && wanted.every((word) => words[number].includes(word));
      row.classList.toggle('out', !fits);
      shown += fits;
    });
    const say = (count) => count.toLocaleString('en');
    byId('shown').textContent = shown === rows.length
      ? `${say(shown)} interfaces`
      : `${say(shown)} of ${say(rows.length)} interfaces`;
  };
  let typing;
  text.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 100);
  });
  which.addEventListener('change', filter);
  byId('clear').addEventListener('click', () => {
    text.value = '';
    which.value = '';
    filter();
    text.focus();
  });
  for (const button of document.querySelectorAll('[data-show]')) {
    button.hidden = false;
    button.addEventListener('click', () => {
      text.value = '';
      which.value = button.dataset.show;
      filter();
      byId('interfaces').scrollIntoView();
      which.focus({ preventScroll: true });
    });
  }
  document.querySelector('.filters').hidden = false;
})();
