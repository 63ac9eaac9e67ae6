export type paths = any;
export type components = { schemas: any };
