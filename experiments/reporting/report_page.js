'use strict';
// Fills the page from the three JSON blocks. Text goes in by textContent or, in plots, escaped: names may hold
// anything.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read('data'), curves = read('curves'), live = read('live-filters');
  const measures = new Map(data.measures.map((m) => [m.column, m]));
  const escaped = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  let paper = false;  // printing: always the light colours
  const isDark = () => dark.matches && !paper;
  const narrow = window.matchMedia('(max-width: 760px)');
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Colour: all levels but the last; dash: the last level. So arms that differ in one factor look related.
  const palettes = {
    light:
        ['#1f5fc4', '#c2570c', '#1a7f4b', '#8b3fc0', '#b8264f', '#0b7285', '#8a6100', '#5b6470', '#a61e8f', '#4b5f1f'],
    dark:
        ['#7fb0ff', '#ff9f5a', '#5fd08f', '#cf9bff', '#ff86a8', '#4fd0e4', '#e8bd55', '#aab4c0', '#ff8ce6', '#b5cf6b'],
  };
  const dashes = ['solid', 'dash', 'dot', 'dashdot', 'longdash', 'longdashdot'];
  const symbols = ['circle', 'diamond', 'square', 'triangle-up', 'cross', 'x'];
  const heads = [], tails = [];
  const styles = data.arms.map((arm) => {
    const at = arm.name.lastIndexOf('/');
    const head = at < 0 ? arm.name : arm.name.slice(0, at), tail = at < 0 ? '' : arm.name.slice(at + 1);
    if (!heads.includes(head)) heads.push(head);
    if (!tails.includes(tail)) tails.push(tail);
    return {colour: heads.indexOf(head), dash: tails.indexOf(tail)};
  });
  const colourOf = (arm) => palettes[isDark() ? 'dark' : 'light'][styles[arm].colour % 10];
  const dashOf = (arm) => dashes[styles[arm].dash % dashes.length];
  const faint = (hex) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(',')},0.16)`;

  // Of many arms only those that are compared are drawn at first.
  const compared = new Set();
  for (const c of data.comparisons)
    for (const arm of c.contrast ? Object.keys(c.contrast) : [c.treatment, c.control]) compared.add(arm);
  const many = data.arms.length > 8 && compared.size > 0 && compared.size < data.arms.length;
  const visible = (arm) => (many && !compared.has(data.arms[arm].name) ? 'legendonly' : true);

  // ---- tables: columns {title, text(row), value(row), link(row), isText}
  function table(id, columns, rows) {
    const holder = document.getElementById(id);
    const element = document.createElement('table');
    const head = element.createTHead().insertRow();
    const body = element.createTBody();
    let order = rows.slice();
    const fill = () => {
      body.replaceChildren();
      for (const row of order) {
        const tr = body.insertRow();
        for (const column of columns) {
          const td = tr.insertCell();
          const value = column.value(row);
          const text = column.text ? column.text(row) : value === null || value === undefined ? '' : String(value);
          if (column.isText) td.className = 'text';
          td.dataset.value = value === null || value === undefined ? '' : value;
          td.dataset.column = column.key || column.title;
          const link = column.link && column.link(row);
          if (link) {
            const a = document.createElement('a');
            a.href = link.split('/').map(encodeURIComponent).join('/');
            a.textContent = text;
            td.append(a);
          } else {
            td.textContent = text;
          }
        }
      }
    };
    columns.forEach((column) => {
      const th = document.createElement('th');
      th.textContent = column.title;
      if (column.isText) th.className = 'text';
      th.tabIndex = 0;
      const sort = () => {
        const up = th.getAttribute('aria-sort') === 'descending' || (column.isText && !th.hasAttribute('aria-sort'));
        for (const other of head.cells) other.removeAttribute('aria-sort');
        th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        const blank = (v) => v === null || v === undefined || v === '';
        order.sort((a, b) => {
          const x = column.value(a), y = column.value(b);
          if (blank(x) || blank(y)) return blank(x) - blank(y);
          // Whole numbers in texts may be larger than those that JavaScript tells apart.
          const whole = [x, y].every((v) => typeof v === 'string' && /^-?[0-9]+$/.test(v));
          const less = whole                ? Number(BigInt(x) > BigInt(y)) - Number(BigInt(x) < BigInt(y)) :
              isNaN(x) || isNaN(y) ? String(x).localeCompare(String(y)) :
                                     x - y;
          return up ? less : -less;
        });
        fill();
      };
      th.addEventListener('click', sort);
      th.addEventListener('keydown', (event) => {
        if (event.key === 'Enter') sort();
      });
      head.append(th);
    });
    fill();
    holder.replaceChildren(element);
  }

  const heading = (m) => (m.unit ? `${m.label} (${m.unit})` : m.label);
  const shown = (m, value) => (value * m.scale).toFixed(m.digits);
  const used = data.measures.filter((m) => m.table && data.arms.some((arm) => arm.measures[m.column]));
  const armColumns = [
    {title: 'arm', key: 'arm', value: (arm) => arm.name, isText: true},
    {title: 'n', value: (arm) => arm.done},
    ...['diverged', 'failed', 'missing']
        .filter((key) => key === 'diverged' || data.arms.some((arm) => arm[key]))
        .map((key) => ({title: key, value: (arm) => arm[key]})),
    {title: 'masks', value: (arm) => arm.masks, isText: true},
    ...used.map((m) => ({
                  title: heading(m),
                  key: m.column,
                  value: (arm) => (arm.measures[m.column] ? arm.measures[m.column][0] : null),
                  text: (arm) => {
                    const own = arm.measures[m.column];
                    if (!own) return '';
                    return shown(m, own[0]) + (own[1] ? ` \u00b1 ${shown(m, own[1])}` : '') +
                        (own[2] === arm.done ? '' : ` (n = ${own[2]})`);
                  },
                })),
  ];
  table('arms', armColumns, data.arms);

  const columns = data.results.columns;
  const rows = data.results.rows.map((cells, index) => ({cells, index}));
  table(
      'runs', columns.map((name, i) => ({
                            // What is shown in another unit than the file's has it in the heading.
                            title: measures.has(name) && measures.get(name).scale !== 1 ? heading(measures.get(name)) :
                                                                                        name.replace(/_/g, ' '),
                            key: name,
                            isText: name === 'arm' || name === 'status',
                            value: (row) => row.cells[i],
                            link: name === 'arm' ? (row) => data.links[row.index] : null,
                            text: (row) => {
                              const cell = row.cells[i], m = measures.get(name);
                              if (name === 'run_id') return cell.slice(0, 12);
                              return cell === '' || !m || m.whole ? cell : shown(m, Number(cell));
                            },
                          })),
      rows);

  const number = (key, digits) => ({
    title: key.replace(/_/g, ' '),
    key,
    value: (c) => c[key],
    text: (c) => (c[key] === null || c[key] === undefined ? '' : Number(c[key]).toPrecision(digits || 4)),
  });
  if (data.comparisons.length) {
    table(
        'comparisons',
        [
          {title: 'comparison', value: (c) => c.title, isText: true},
          {title: 'metric', value: (c) => c.metric},
          {title: 'verdict', value: (c) => c.verdict},
          ...['n_treatment', 'n_control', 'n_pairs'].map(
              (key) => ({title: key.replace(/_/g, ' '), key, value: (c) => c[key]})),
          ...['mean_treatment', 'mean_control', 'difference', 'sd_difference', 'ci_low', 'ci_high', 'ci95_low',
              'ci95_high', 'student95_low', 'student95_high', 'bootstrap95_low', 'bootstrap95_high', 'p_sign_flip',
              'p_holm', 'p_paired_t', 'p_welch', 'hedges_g', 'margin', 'p_equivalence']
              .map((key) => number(key)),
        ],
        data.comparisons);
  } else {
    document.getElementById('comparisons').parentElement.remove();
  }

  const facts = Object.entries(data.provenance)
                    .flatMap(([key, values]) => Object.entries(values).map(([value, n]) => ({key, value, n})));
  const seconds = data.results.rows.reduce((sum, cells) => sum + Number(cells[columns.indexOf('seconds')] || 0), 0);
  if (seconds) {
    const h = seconds / 3600;
    facts.push({
      key: 'duration',
      value: h >= 1 ? `${h.toFixed(1)} hours of training` : `${seconds.toFixed(0)} seconds of training`,
      n: data.results.rows.filter((cells) => cells[columns.indexOf('seconds')]).length
    });
  }
  table(
      'provenance',
      [
        {title: 'what', value: (f) => f.key.replace(/_/g, ' '), isText: true},
        {title: 'value', value: (f) => f.value, isText: true},
        {title: 'runs', value: (f) => f.n},
      ],
      facts);

  // ---- plots
  const layout = (extra) => {
    const axis = {gridcolor: css('--line'), zerolinecolor: css('--line'), linecolor: css('--line'), automargin: true};
    return Object.assign(
        {
          paper_bgcolor: 'rgba(0,0,0,0)',
          plot_bgcolor: 'rgba(0,0,0,0)',
          font: {color: css('--ink'), size: 12},
          margin: {l: 52, r: 12, t: 30, b: 44},
          hovermode: 'closest',
          hoverlabel: {namelength: -1},
          modebar: {bgcolor: 'rgba(0,0,0,0)', color: css('--soft'), activecolor: css('--ink')},
          legend: {orientation: 'h', yref: 'container', y: 0, yanchor: 'bottom', x: 0, font: {size: 11}},
        },
        extra, {xaxis: Object.assign({}, axis, extra.xaxis), yaxis: Object.assign({}, axis, extra.yaxis)});
  };
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']]
  };
  const drawn = [];  // {id, draw}, to be drawn again when the colours change
  const plots = [];
  function plot(id, draw, fits) {
    const element = document.getElementById(id);
    const show = () => {
      const figure = draw();
      if (!figure) {
        element.classList.add('empty');
        element.textContent = 'Nothing was recorded for this.';
        return Promise.resolve();
      }
      const height = fits ? fits(figure) : element.classList.contains('tall') ? 460 : 340;
      const legend = figure.traces.filter((t) => t.showlegend !== false && t.name).length;
      // A legend below takes its own room, so that the plot keeps its height.
      const perRow = Math.max(1, Math.floor(element.clientWidth / 150));
      const extra = legend ? 21 * Math.ceil(legend / perRow) : 0;
      element.style.height = `${height + extra}px`;
      const all = layout(Object.assign({height: height + extra}, figure.layout));
      if (legend) all.margin.b = 48 + extra;
      return Plotly.react(element, figure.traces, all, config);
    };
    drawn.push(show);
    plots.push(show());
    return show;
  }
  function choose(plotId, label, options, change) {
    const holder = document.querySelector(`.controls[data-plot="${plotId}"]`);
    const element = document.createElement('label');
    element.textContent = `${label} `;
    const select = document.createElement('select');
    options.forEach(([value, text]) => {
      const option = document.createElement('option');
      option.value = value;
      option.textContent = text;
      select.append(option);
    });
    select.addEventListener('change', () => change());
    element.append(select);
    holder.append(element);
    return () => select.value;
  }

  function curvePlot(column, title, scale, log, masks) {
    const traces = [];
    for (const curve of curves) {
      const series = curve[column];
      if (!series || (masks && data.arms[curve.arm].masks !== masks)) continue;
      const name = escaped(data.arms[curve.arm].name), colour = colourOf(curve.arm), group = `arm${curve.arm}`;
      const times = (values) => values.map((v) => (v === null ? null : v * scale));
      if (series.l) {
        traces.push({
          x: series.x.concat(series.x.slice().reverse()),
          y: times(series.h).concat(times(series.l).reverse()),
          fill: 'toself',
          fillcolor: faint(colour),
          line: {width: 0},
          hoverinfo: 'skip',
          legendgroup: group,
          showlegend: false,
          name,
          mode: 'lines',
          visible: visible(curve.arm),
          type: 'scatter',
        });
      }
      traces.push({
        x: series.x,
        y: times(series.m),
        name,
        legendgroup: group,
        mode: series.x.length > 1 ? 'lines' : 'markers',
        type: 'scatter',
        line: {color: colour, dash: dashOf(curve.arm), width: 2},
        marker: {color: colour},
        visible: visible(curve.arm),
        hovertemplate: `${name}<br>epoch %{x}: %{y:.4g}<extra></extra>`,
      });
    }
    if (!traces.length) return null;
    return {
      traces,
      layout: {
        xaxis: {title: {text: 'epoch'}, rangemode: 'tozero'},
        yaxis: {title: {text: title}, type: log ? 'log' : 'linear'}
      }
    };
  }
  const has = (column) => curves.some((curve) => curve[column]);
  const changes = (column) => curves.some((curve) => curve[column] && curve[column].m.some((v) => v));

  // The measures with a curve, by the plot that they are in. A plot with several has a menu of those that have values.
  const redraw = {};
  // Filters and weights are counted in different units, so they are never drawn together.
  const kinds = ['filters', 'weights'].filter((kind) => data.arms.some((arm) => arm.masks === kind));
  // A measure with values whose plot the page has no card for gets one of its own.
  const card = (m) => {
    if (document.getElementById(m.curve.plot)) return;
    const make = (tag, className) => Object.assign(document.createElement(tag), {className});
    const element = make('div', 'card'), title = make('h2', ''), holder = make('div', 'plot');
    const controls = make('div', 'controls');
    title.textContent = m.label;
    controls.dataset.plot = holder.id = m.curve.plot;
    element.append(title, controls, holder);
    document.querySelector('section.plots').append(element);
  };
  const drawCurves = (id) => {
    const all = data.measures.filter((m) => m.curve && m.curve.plot === id);
    const some = all.filter((m) => has(m.column) && (!m.curve.unlessZero || changes(m.column)));
    if (!some.length && !document.getElementById(id)) return;
    card(all[0]);
    const chosen = all.length > 1 && some.length ?
        choose(id, 'Show', some.map((m) => [m.column, m.label]), () => redraw[id]()) :
        () => some.length && some[0].column;
    const byMasks = all.some((m) => m.curve.ofMasks);
    const kind = byMasks && kinds.length > 1 ?
        choose(id, 'Arms that mask', kinds.map((k) => [k, k]), () => redraw[id]()) :
        () => (byMasks ? kinds[0] : undefined);
    redraw[id] = plot(id, () => {
      const m = measures.get(chosen());
      if (!m) return null;
      const axis = kind() ? `${kind()} that ${m.curve.axis}` : m.curve.axis;
      return curvePlot(m.column, axis, m.scale, m.curve.log, kind());
    });
  };
  const plotIds = [...new Set(data.measures.filter((m) => m.curve).map((m) => m.curve.plot))];

  // Trade-off: one point a run, one larger a mean; arms of one method at several strengths are joined.
  const [xs, ys] = [data.tradeOff.x, data.tradeOff.y].map((l) => l.filter((c) => used.some((m) => m.column === c)));
  const cellOf = (cells, column) => {
    const of = (name) => {
      const cell = cells[columns.indexOf(name)];
      return cell === '' ? null : Number(cell);
    };
    const ratio = measures.get(column).ratio;
    if (ratio) return of(ratio[1]) && of(ratio[0]) !== null ? of(ratio[0]) / of(ratio[1]) : null;
    return of(column);
  };
  const scaled = (value, m) => (value === null ? null : value * m.scale);  // what is null is not drawn
  const tradeX = choose('tradeoff', 'Against', xs.map((c) => [c, heading(measures.get(c))]), () => redraw.tradeoff());
  const tradeY = choose('tradeoff', 'show', ys.map((c) => [c, heading(measures.get(c))]), () => redraw.tradeoff());
  redraw.tradeoff = plot('tradeoff', () => {
    if (!xs.length || !ys.length) return null;
    const mx = measures.get(tradeX()), my = measures.get(tradeY());
    const traces = [], methods = new Map();
    data.arms.forEach((arm, index) => {
      const x = arm.measures[mx.column], y = arm.measures[my.column];
      if (!x || !y) return;
      const colour = colourOf(index), symbol = symbols[styles[index].dash % symbols.length], name = escaped(arm.name);
      const runs =
          data.results.rows.filter((cells) => cells[0] === arm.name && cells[columns.indexOf('status')] === 'done');
      if (runs.length > 1) {
        traces.push({
          x: runs.map((cells) => scaled(cellOf(cells, mx.column), mx)),
          y: runs.map((cells) => scaled(cellOf(cells, my.column), my)),
          text: runs.map((cells) => `seed ${cells[1]}`),
          mode: 'markers',
          type: 'scatter',
          marker: {color: colour, size: 5, opacity: 0.45, symbol},
          legendgroup: `arm${index}`,
          showlegend: false,
          name,
          visible: visible(index),
          hovertemplate: `${name}, %{text}<br>%{x:.5g}, %{y:.5g}<extra></extra>`,
        });
      }
      traces.push({
        x: [x[0] * mx.scale],
        y: [y[0] * my.scale],
        name,
        mode: 'markers',
        type: 'scatter',
        legendgroup: `arm${index}`,
        visible: visible(index),
        marker: {color: colour, size: 12, symbol, line: {color: css('--card'), width: 1}},
        error_x: {type: 'data', array: [(x[1] || 0) * mx.scale], color: colour, thickness: 1},
        error_y: {type: 'data', array: [(y[1] || 0) * my.scale], color: colour, thickness: 1},
        hovertemplate: `${name}<br>${heading(mx)}: %{x:.5g}<br>${heading(my)}: %{y:.5g} (n = ${y[2]})<extra></extra>`,
      });
      if (arm.method)
        methods.set(arm.method, (methods.get(arm.method) || []).concat([[x[0] * mx.scale, y[0] * my.scale, colour]]));
    });
    if (!traces.length) return null;
    for (const points of methods.values()) {
      if (points.length < 2) continue;
      points.sort((a, b) => a[0] - b[0]);
      traces.unshift({
        x: points.map((p) => p[0]),
        y: points.map((p) => p[1]),
        mode: 'lines',
        type: 'scatter',
        showlegend: false,
        hoverinfo: 'skip',
        line: {color: points[0][2], width: 1.5}
      });
    }
    return {traces, layout: {xaxis: {title: {text: heading(mx)}}, yaxis: {title: {text: heading(my)}}}};
  });

  const liveArm = choose('live', 'Arm', live.map((entry, i) => [i, data.arms[entry.arm].name]), () => redraw.live());
  // Shown first: the first arm in which filters die.
  const dying = live.findIndex((entry) => entry.z.some((row, i) => row.some((v) => v < entry.max[i])));
  if (dying > 0) document.querySelector('.controls[data-plot="live"] select').value = dying;
  redraw.live = plot('live', () => {
    const entry = live[Number(liveArm())];
    if (!entry) return null;
    const share = entry.z.map((row, i) => row.map((v) => v === null ? null : v / entry.max[i]));
    return {
      traces: [{
        type: 'heatmap',
        x: entry.x,
        y: entry.layers.map(escaped),
        z: share,
        zmin: 0,
        zmax: 1,
        customdata: entry.z.map((row, i) => row.map((v) => `${v} of ${entry.max[i]}`)),
        colorscale: isDark() ? [[0, '#2b1016'], [0.02, '#43202b'], [0.5, '#3f6fb0'], [1, '#bfe0ff']] :
                               [[0, '#7a1a2c'], [0.02, '#f7dfe0'], [0.5, '#8db8e8'], [1, '#123f7d']],
        colorbar: {title: {text: 'live', side: 'right'}, tickformat: '.0%', thickness: 12},
        hovertemplate: '%{y}, epoch %{x}: %{customdata} live<extra></extra>',
      }],
      layout: {
        xaxis: {title: {text: 'epoch'}},
        yaxis: {autorange: 'reversed', type: 'category', tickfont: {size: narrow.matches ? 9 : 11}}
      },
    };
  }, (figure) => Math.max(300, Math.min(900, 90 + 15 * figure.traces[0].y.length)));

  plotIds.forEach(drawCurves);

  // Forest plots: one for each metric, because units differ.
  const byMetric = new Map();
  for (const c of data.comparisons) byMetric.set(c.metric, (byMetric.get(c.metric) || []).concat([c]));
  for (const [metric, list] of byMetric) {
    const m = measures.get(metric);
    const holder = document.createElement('div');
    holder.className = 'plot forest';
    holder.id = `forest-${metric}`;
    document.getElementById('forests').append(holder);
    const verdictColour = {better: '--good', worse: '--bad', higher: '--same', lower: '--same', equivalent: '--same', no: '--open',
                           could: '--open'};
    plot(holder.id, () => {
      const traces = [], shapes = [];
      const unit = m.unit === '%' ? 'points' : m.unit;
      const wrap = (text) => narrow.matches ? escaped(text).replace(' vs. ', '<br>vs. ') : escaped(text);
      const names = list.map((c) => wrap(c.title));
      list.forEach((c, i) => {
        const colour = css(verdictColour[c.verdict.split(' ')[0]]);
        if (c.margin > 0) {
          shapes.push({
            type: 'rect',
            x0: -c.margin * m.scale,
            x1: c.margin * m.scale,
            y0: i - 0.4,
            y1: i + 0.4,
            fillcolor: faint('#808890'),
            line: {width: 0},
            layer: 'below'
          });
        }
        if (c.difference === null) return;
        const x = c.difference * m.scale;
        const bar = (low, high, width, thickness) => (low === null || high === null ? undefined : {
          type: 'data',
          symmetric: false,
          array: [high * m.scale - x],
          arrayminus: [x - low * m.scale],
          color: colour,
          width,
          thickness
        });
        const text = `${escaped(c.title)}<br>${shown(m, c.difference)} ${unit}, p (Holm) ${
                         Number(c.p_holm).toPrecision(3)}<br>` +
            (c.ci_low === null ? 'sign-flip interval unbounded: too few seeds' :
                                 `${shown(m, c.ci_low)} to ${shown(m, c.ci_high)} ${unit}`) +
            `<br>${c.verdict}`;
        traces.push({
          x: [x],
          y: [i],
          type: 'scatter',
          mode: 'markers',
          marker: {size: 1, color: colour},
          hoverinfo: 'skip',
          showlegend: false,
          error_x: bar(c.student95_low, c.student95_high, 3, 1.2)
        });
        traces.push({
          x: [x],
          y: [i],
          type: 'scatter',
          mode: 'markers',
          marker: {size: 11, color: colour, symbol: 'diamond'},
          showlegend: false,
          error_x: bar(c.ci_low, c.ci_high, 0, 4),
          hovertemplate: `${text}<extra></extra>`
        });
      });
      shapes.push(
          {type: 'line', x0: 0, x1: 0, y0: -0.5, y1: list.length - 0.5, line: {color: css('--soft'), width: 1}});
      if (!traces.length) return null;
      return {
        traces,
        layout: {
          shapes,
          margin: {l: 8, r: 12, t: 26, b: 44},
          yaxis: {
            tickvals: names.map((_, i) => i),
            ticktext: names,
            range: [list.length - 0.5, -0.5],
            zeroline: false,
            showgrid: false,
            tickfont: {size: narrow.matches ? 10 : 12}
          },
          xaxis: {title: {text: `difference in ${m.label}${unit ? ` (${unit})` : ''}`}, zeroline: false},
        }
      };
    }, () => 98 + (narrow.matches ? 42 : 34) * list.length);
  }

  const again = () => drawn.forEach((show) => show());
  dark.addEventListener('change', again);
  narrow.addEventListener('change', again);
  const print = (begins) => {
    paper = begins;
    document.documentElement.classList.toggle('paper', begins);
    again();
  };
  window.addEventListener('beforeprint', () => print(true));
  window.addEventListener('afterprint', () => print(false));
  Promise.all(plots).then(() => {
    document.body.dataset.ready = '1';
  });
})();
