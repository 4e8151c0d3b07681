"""A run's evidence in the formats that other tools read: OpenLineage, CycloneDX, W3C PROV."""
