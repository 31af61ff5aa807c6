"""Self-contained HTML pages and images: reports, comparisons, explanations."""
