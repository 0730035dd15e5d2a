-- The number of the last change; whoever commits holds this row until then, so that numbers become visible in order.
CREATE TABLE change_counter (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

INSERT INTO change_counter (one, seq) VALUES (1, 0);

CREATE TABLE changes (
    seq INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT,
    namespace TEXT,
    version INTEGER,
    token TEXT
) STRICT;
