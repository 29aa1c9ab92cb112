"""Will this flight out of New York arrive late? The library: pure functions and typed data."""
