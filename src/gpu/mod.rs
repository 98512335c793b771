//! gpu (filled by its branch).
