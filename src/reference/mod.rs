//! reference (filled by its branch).
