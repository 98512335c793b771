//! report (filled by its branch).
