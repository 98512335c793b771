//! vision (filled by its branch).
