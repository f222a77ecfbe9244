-- The ten highest bids on each auction. The last keys of the order decide between bids of the same price.
SELECT *
FROM (
  SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, extra) AS rank_number FROM bid
) bids
WHERE rank_number <= 10
