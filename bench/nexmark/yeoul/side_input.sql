-- Texts for the numbers below 10000, which q13 looks up.
CREATE TABLE side_input (key BIGINT PRIMARY KEY, value VARCHAR) WITH ({side_input});
