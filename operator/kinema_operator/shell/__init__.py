"""All I/O of the operator: Kopf, watches, queue, reconcile, client, leader, object stores, health, metrics."""
