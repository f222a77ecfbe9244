CREATE TABLE nexmark AS SELECT * FROM read_json('{events}', format = 'newline_delimited', columns = {
  event_type: 'INTEGER',
  person: 'STRUCT(id BIGINT, "name" VARCHAR, "emailAddress" VARCHAR, "creditCard" VARCHAR, city VARCHAR, state VARCHAR,
                  "dateTime" TIMESTAMP, extra VARCHAR)',
  auction: 'STRUCT(id BIGINT, "itemName" VARCHAR, description VARCHAR, "initialBid" BIGINT, reserve BIGINT,
                   "dateTime" TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR)',
  bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, "dateTime" TIMESTAMP,
               extra VARCHAR)'});

CREATE VIEW person AS
  SELECT person.id AS id, person.name AS name, person."emailAddress" AS email_address,
         person."creditCard" AS credit_card, person.city AS city, person.state AS state,
         person."dateTime" AS date_time, person.extra AS extra
  FROM nexmark WHERE event_type = 0;

CREATE VIEW auction AS
  SELECT auction.id AS id, auction."itemName" AS item_name, auction.description AS description,
         auction."initialBid" AS initial_bid, auction.reserve AS reserve, auction."dateTime" AS date_time,
         auction.expires AS expires, auction.seller AS seller, auction.category AS category, auction.extra AS extra
  FROM nexmark WHERE event_type = 1;

CREATE VIEW bid AS
  SELECT bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, bid.channel AS channel, bid.url AS url,
         bid."dateTime" AS date_time, bid.extra AS extra
  FROM nexmark WHERE event_type = 2;

CREATE TABLE side_input AS
  SELECT * FROM read_csv('{side_input}', columns = {key: 'BIGINT', value: 'VARCHAR'}, header = true);
