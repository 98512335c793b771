//! memory (filled by its branch).
