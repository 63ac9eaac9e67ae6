//! What all plots are drawn with: axes, series, layout, colours, and the picture itself.

pub(in crate::plot) mod axis;
pub(crate) mod chart;
pub(in crate::plot) mod layout;
pub(in crate::plot) mod names;
pub(in crate::plot) mod paint;
pub(in crate::plot) mod pen;
pub(in crate::plot) mod series;
pub(in crate::plot) mod stack;
pub(in crate::plot) mod theme;
