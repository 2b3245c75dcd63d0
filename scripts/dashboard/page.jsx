// The page shows a Grafana dashboard with Grafana's own panels, for pictures without a Grafana server. data.js
// sets what it shows: the dashboard, and for each panel's title the answers to its queries.
import React from 'react'
import { createRoot } from 'react-dom/client'
import { createTheme, dateTime, FieldType, getDisplayProcessor, getFieldDisplayValues, toDataFrame } from '@grafana/data'
import { BigValue, BigValueTextMode, PanelChrome, ThemeContext, TimeSeries } from '@grafana/ui'
import 'uplot/dist/uPlot.min.css'

const { dashboard, answers, start, end, step } = window.data // times in seconds
const theme = createTheme({ colors: { mode: new URLSearchParams(location.search).get('mode') } })
const timeRange = { from: dateTime(start * 1000), to: dateTime(end * 1000), raw: { from: 'now-1m', to: 'now' } }
const column = (innerWidth - 16) / 24, row = 38 // as in Grafana: 24 columns, rows of 30 pixels and a gap of 8

// What Grafana's panels have unless the dashboard says otherwise.
const lines = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, showPoints: 'auto', pointSize: 5, spanNulls: false, gradientMode: 'none',
  axisPlacement: 'auto', axisLabel: '', axisColorMode: 'text', scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' },
  thresholdsStyle: { mode: 'off' }, hideFrom: { viz: false, legend: false, tooltip: false },
}
const thresholds = { mode: 'absolute', steps: [{ color: 'green', value: null }, { color: 'red', value: 80 }] }

const legend = (format, labels) => format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? '').trim()

// configure returns the config of a series: Grafana's defaults, the panel's, and the panel's overrides.
function configure(panel, name) {
  const { defaults, overrides } = panel.fieldConfig
  const config = {
    color: { mode: panel.type === 'stat' ? 'thresholds' : 'palette-classic' }, thresholds,
    ...structuredClone(defaults), displayNameFromDS: name, custom: { ...lines, ...defaults.custom },
  }
  config.thresholds = { ...config.thresholds, steps: config.thresholds.steps.map(s => ({ ...s, value: s.value ?? -Infinity })) }
  for (const { matcher, properties } of overrides) {
    if (matcher.id !== 'byName') throw new Error(`no matcher ${matcher.id}`)
    if (matcher.options !== name) continue
    for (const { id, value } of properties) {
      const [last, ...path] = id.split('.').reverse()
      path.reverse().reduce((at, key) => at[key], config)[last] = value
    }
  }
  return config
}

// series returns a data frame for each series of a panel.
function series(panel) {
  const times = Array.from({ length: (end - start) / step + 1 }, (_, i) => start + i * step)
  return panel.targets.flatMap(({ refId, legendFormat }, i) => answers[panel.title][i].map(({ labels, points }) => ({ refId, name: legend(legendFormat, labels), labels, points })))
    .map(({ refId, name, labels, points }, seriesIndex) => {
      const at = new Map(points), values = times.map(t => at.get(t) ?? null), known = points.map(([, v]) => v)
      const frame = toDataFrame({ refId, name, fields: [
        { name: 'Time', type: FieldType.time, values: times.map(t => t * 1000), config: {} },
        { name: 'Value', type: FieldType.number, values, labels, config: configure(panel, name) },
      ] })
      frame.fields[1].state = { seriesIndex, displayName: name, range: { min: Math.min(...known), max: Math.max(...known), delta: 1 } }
      for (const field of frame.fields) field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' })
      return frame
    })
}

function Figure({ panel, data, width, height }) {
  const { reduceOptions, colorMode, graphMode } = panel.options
  const [{ display, sparkline }] = getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions, data, theme, sparkline: graphMode === 'area', replaceVariables: s => s, timeZone: 'utc' })
  return <BigValue theme={theme} width={width} height={height} value={display} sparkline={sparkline} colorMode={colorMode} graphMode={graphMode} textMode={BigValueTextMode.Value} />
}

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos, width = w * column - 8, height = h * row - 8
  const style = { left: 8 + x * column, top: 8 + y * row, width, height }
  if (panel.type === 'row') return <div className="panel" style={style}><h2>{panel.title}</h2></div>
  const data = series(panel)
  const content = (width, height) => {
    if (!data.length) return panel.fieldConfig.defaults.noValue ?? 'No data'
    if (panel.type === 'stat') return <Figure {...{ panel, data, width, height }} />
    return <TimeSeries frames={data} structureRev={1} timeRange={timeRange} timeZone="utc" width={width} height={height} legend={{ showLegend: true, calcs: [], ...panel.options.legend }} options={{}} />
  }
  return <div className="panel" style={style}><PanelChrome title={panel.title} width={width} height={height}>{content}</PanelChrome></div>
}

const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h))
Object.assign(document.body.style, { background: theme.colors.background.canvas, color: theme.colors.text.primary, height: `${16 + bottom * row}px` })
createRoot(document.getElementById('page')).render(
  <ThemeContext.Provider value={theme}>{dashboard.panels.map(panel => <Panel key={panel.id} panel={panel} />)}</ThemeContext.Provider>)
