-- W1: views of ads per campaign and ten seconds. The campaign comes from a map in memory (Lookup):
-- the file connector of Flink cannot be looked up in.
CREATE TEMPORARY FUNCTION campaign_of AS 'Lookup';

CREATE TABLE ad_events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING,
  event_time BIGINT, ip_address STRING,
  moment AS TO_TIMESTAMP_LTZ(event_time, 3),
  WATERMARK FOR moment AS moment - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = '{events}', 'format' = 'json');

CREATE VIEW viewed AS
  SELECT campaign_of(ad_id) AS campaign_id, moment FROM ad_events WHERE event_type = 'view';

CREATE VIEW answer AS
  SELECT campaign_id, window_start, count(*) AS viewings
  FROM TABLE(TUMBLE(TABLE viewed, DESCRIPTOR(moment), INTERVAL '10' SECOND))
  GROUP BY campaign_id, window_start, window_end;

CREATE TABLE nowhere (campaign_id STRING, window_start TIMESTAMP(3), viewings BIGINT)
  WITH ('connector' = 'blackhole');
