"""The processed run: what preprocessing writes and every later job opens.

processed.json        ProcessedInfo: fingerprint, days, counts, missing columns
transforms.json       FittedTransforms
items.parquet         the catalogue in ItemRow order: all of contracts.columns.ITEMS, null where missing
subjects/part-P.parquet  a row a subject of partition P: subject_id, user_id?, user_code, gender_code, age, num_events
events/part-P.parquet  its events, sorted by (subject, timestamp, event_id), and event_id
report.json           counted drops
"""
