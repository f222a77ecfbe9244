-- The Open Bandit sample: every row is an impression of an ad (an item) at a position of the page, and
-- says whether it was clicked. Two policies chose the items, in two campaigns; both are in the path of
-- the file and not in its rows, so each file is a stream of its own.

CREATE STREAM bandit_random_all (
  ts               TIMESTAMPTZ NOT NULL,
  item_id          INT NOT NULL,
  position         INT NOT NULL,                -- 1 left, 2 centre, 3 right
  click            INT NOT NULL,                -- 1: it was clicked
  propensity_score DOUBLE PRECISION,            -- how likely the policy was to show this item here
  user_feature_0   VARCHAR,
  user_feature_1   VARCHAR,
  user_feature_2   VARCHAR,
  user_feature_3   VARCHAR,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (
  connector = 'file', path = 'data/random/all/all.csv.gz', format = 'csv', mapping = 'ts = timestamp',
  order_by = 'item_id, ts', partition_by = 'day(ts)'
);

CREATE STREAM bandit_random_men (
  ts               TIMESTAMPTZ NOT NULL,
  item_id          INT NOT NULL,
  position         INT NOT NULL,
  click            INT NOT NULL,
  propensity_score DOUBLE PRECISION,
  user_feature_0   VARCHAR,
  user_feature_1   VARCHAR,
  user_feature_2   VARCHAR,
  user_feature_3   VARCHAR,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (
  connector = 'file', path = 'data/random/men/men.csv.gz', format = 'csv', mapping = 'ts = timestamp',
  order_by = 'item_id, ts', partition_by = 'day(ts)'
);

CREATE STREAM bandit_bts_all (
  ts               TIMESTAMPTZ NOT NULL,
  item_id          INT NOT NULL,
  position         INT NOT NULL,
  click            INT NOT NULL,
  propensity_score DOUBLE PRECISION,
  user_feature_0   VARCHAR,
  user_feature_1   VARCHAR,
  user_feature_2   VARCHAR,
  user_feature_3   VARCHAR,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (
  connector = 'file', path = 'data/bts/all/all.csv.gz', format = 'csv', mapping = 'ts = timestamp',
  order_by = 'item_id, ts', partition_by = 'day(ts)'
);

CREATE STREAM bandit_bts_men (
  ts               TIMESTAMPTZ NOT NULL,
  item_id          INT NOT NULL,
  position         INT NOT NULL,
  click            INT NOT NULL,
  propensity_score DOUBLE PRECISION,
  user_feature_0   VARCHAR,
  user_feature_1   VARCHAR,
  user_feature_2   VARCHAR,
  user_feature_3   VARCHAR,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (
  connector = 'file', path = 'data/bts/men/men.csv.gz', format = 'csv', mapping = 'ts = timestamp',
  order_by = 'item_id, ts', partition_by = 'day(ts)'
);
