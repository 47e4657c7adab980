// What a dashboard of ours may hold: Grafana's own types, narrowed to the panels that are used here, so that a wrong or unknown
// option of a panel is an error too.
import type {
  Dashboard as GrafanaDashboard, FieldConfig, Panel as GrafanaPanel, RowPanel, VariableModel,
} from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen.d.ts';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts';
import type * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.d.ts';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts';

/** As JSON has it: the values of an enum instead of its names. */
type Json<T> =
  T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends readonly (infer E)[] ? Json<E>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> }
  : T;

/** The data source plugin publishes no types; its documentation says so. */
interface ClickHouseQuery {
  refId: string;
  datasource: { type: 'grafana-clickhouse-datasource'; uid: '${clickhouse}' };
  editorType: 'sql';
  queryType: 'table' | 'timeseries';
  /** 0: time series, 1: table. */
  format: 0 | 1;
  rawSql: string;
}

interface PrometheusQuery {
  refId: string;
  datasource: { type: 'prometheus'; uid: '${prometheus}' };
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
  editorMode: 'code';
}

interface Link {
  title: string;
  url: string;
}

interface PanelOf<Type extends string, Options, Custom> extends Omit<GrafanaPanel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Type;
  id: number;
  title: string;
  description: string;
  datasource: { type: string; uid: string };
  options: Options;
  fieldConfig: {
    defaults: Omit<FieldConfig, 'custom' | 'links'> & { unit?: string; noValue: string; custom?: Custom; links?: Link[] };
    overrides: NonNullable<GrafanaPanel['fieldConfig']>['overrides'];
  };
  targets: ClickHouseQuery[] | PrometheusQuery[];
}

type Panel =
  | PanelOf<'stat', stat.Options, never>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | PanelOf<'heatmap', heatmap.Options, heatmap.FieldConfig>;

export type Dashboard = Json<
  Omit<GrafanaDashboard, 'panels' | 'templating'> & {
    uid: string;
    title: string;
    description: string;
    panels: (Panel | RowPanel)[];
    templating: { list: VariableModel[] };
  }
>;

// Types that cannot be found would let everything pass.
// @ts-expect-error
export const unknownOption: Json<stat.Options>['nonsense'] = 1;
// @ts-expect-error
export const unknownValue: Json<table.FieldConfig>['align'] = 'nowhere';
// @ts-expect-error
export const unknownStyle: Json<timeseries.FieldConfig>['drawStyle'] = 'nothing';
// @ts-expect-error
export const unknownMode: Json<heatmap.Options>['color']['mode'] = 'nothing';
