"""The regulatory index as data: one YAML file a framework. `reports.regulations` reads them."""
