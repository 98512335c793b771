//! backbone (filled by its branch).
