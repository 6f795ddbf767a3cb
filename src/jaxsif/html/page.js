// Draws a page's charts in the page's colours, anew when these change; runs in the reader's browser.
// SPDX-License-Identifier: Apache-2.0
"use strict";
(function () {
  const plots = [...document.querySelectorAll(".plot")];
  const settings = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // A colour is a name of page.css, so that it fits light and dark.
  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("--")) {
      return style.getPropertyValue(value).trim() || value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, coloured(item, style)]),
      );
    }
    return value;
  }

  function axis(own, style) {
    return {
      gridcolor: style.getPropertyValue("--line"),
      zerolinecolor: style.getPropertyValue("--line"),
      linecolor: style.getPropertyValue("--line"),
      ...own,
    };
  }

  function draw(plot, size) {
    const style = getComputedStyle(document.documentElement);
    const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
    const ink = style.getPropertyValue("--ink").trim();
    const layout = coloured(spec.layout, style);
    Object.assign(layout, size, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: layout.plot_bgcolor || "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
      modebar: {
        bgcolor: "rgba(0,0,0,0)",
        color: style.getPropertyValue("--soft").trim(),
        activecolor: ink,
      },
      hoverlabel: {
        bgcolor: style.getPropertyValue("--card").trim(),
        bordercolor: style.getPropertyValue("--soft").trim(),
        font: { color: ink },
        align: "left",
      },
      xaxis: axis(layout.xaxis, style),
      yaxis: axis(layout.yaxis, style),
    });
    return Plotly.react(plot, coloured(spec.data, style), layout, settings);
  }

  function drawAll(size) {
    return Promise.all(plots.map((plot) => draw(plot, size)));
  }

  drawAll({}).then(() => document.documentElement.setAttribute("data-drawn", plots.length));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll({}));
  // A page of paper is narrower than most windows.
  addEventListener("beforeprint", () => drawAll({ width: 680 }));
  addEventListener("afterprint", () => drawAll({}));
})();
