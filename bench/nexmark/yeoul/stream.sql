-- The one stream of Nexmark: every line is a person, an auction or a bid, and the columns of the other two are null.
CREATE STREAM nexmark (
  event_type INT NOT NULL,
  person_id BIGINT, person_name VARCHAR, person_email_address VARCHAR, person_credit_card VARCHAR, person_city VARCHAR,
  person_state VARCHAR, person_date_time TIMESTAMP, person_extra VARCHAR,
  auction_id BIGINT, auction_item_name VARCHAR, auction_description VARCHAR, auction_initial_bid BIGINT,
  auction_reserve BIGINT, auction_date_time TIMESTAMP, auction_expires TIMESTAMP, auction_seller BIGINT,
  auction_category BIGINT, auction_extra VARCHAR,
  bid_auction BIGINT, bid_bidder BIGINT, bid_price BIGINT, bid_channel VARCHAR, bid_url VARCHAR,
  bid_date_time TIMESTAMP, bid_extra VARCHAR,
  WATERMARK FOR bid_date_time AS bid_date_time - INTERVAL '4 seconds'
) WITH ({options}mapping =
  'person_id: person.id, person_name: person.name, person_email_address: person.emailAddress,
   person_credit_card: person.creditCard, person_city: person.city, person_state: person.state,
   person_date_time: person.dateTime, person_extra: person.extra,
   auction_id: auction.id, auction_item_name: auction.itemName, auction_description: auction.description,
   auction_initial_bid: auction.initialBid, auction_reserve: auction.reserve, auction_date_time: auction.dateTime,
   auction_expires: auction.expires, auction_seller: auction.seller, auction_category: auction.category,
   auction_extra: auction.extra,
   bid_auction: bid.auction, bid_bidder: bid.bidder, bid_price: bid.price, bid_channel: bid.channel, bid_url: bid.url,
   bid_date_time: bid.dateTime, bid_extra: bid.extra');
