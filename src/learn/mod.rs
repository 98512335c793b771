//! learn (filled by its branch).
