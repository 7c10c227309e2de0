"""What is generated from the types: CRDs, RBAC, the admission policy, the API reference."""
