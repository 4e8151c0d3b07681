"""Who decided: approvals, four eyes, promotion."""
