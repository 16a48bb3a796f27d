/*
 * tables - those of social/ (a migration of svc-content).
 *
 * What people and visitors say of a graph is one row each in reactions, and a
 * trigger keeps the sums in graphs: whatever adds, changes or deletes a row,
 * erasure and retention too, the sums are those of the rows, and adding to a
 * sum is atomic in the database.  Views are counted without rows that name
 * anybody (day.h).
 *
 * Inside svc-content only.
 */
#ifndef SVC_CONTENT_SOCIAL_TABLES_H
#define SVC_CONTENT_SOCIAL_TABLES_H

/* t: the schema's prefix; tree: rows stored in their key; bytes: BLOB. */
#define SOCIAL_TABLES(t, tree, bytes)                                                                               \
	/* rating_sum is in hundredths, as rating is. */                                                            \
	"CREATE TABLE " t "graphs (id TEXT PRIMARY KEY, "                                                           \
	"likes BIGINT NOT NULL CHECK (likes >= 0), "                                                                \
	"ratings BIGINT NOT NULL CHECK (ratings >= 0), "                                                            \
	"rating_sum BIGINT NOT NULL CHECK (rating_sum >= 0), "                                                      \
	"shares BIGINT NOT NULL CHECK (shares >= 0), "                                                              \
	"views BIGINT NOT NULL CHECK (views >= 0), at BIGINT NOT NULL);"                                            \
	"CREATE INDEX graphs_trending ON " t "graphs "                                                              \
	"((200 * likes + rating_sum) DESC, id);"                                                                    \
	"CREATE INDEX graphs_top ON " t "graphs "                                                                   \
	"((rating_sum * 10000 / ratings) DESC, ratings DESC, id) "                                                  \
	"WHERE ratings > 0;"                                                                                        \
	"CREATE INDEX graphs_idle ON " t "graphs (at) "                                                             \
	"WHERE likes = 0 AND ratings = 0 AND shares = 0;" /* Of a person (sub) or a visitor, the other being ''. */ \
	"CREATE TABLE " t "reactions (graph TEXT NOT NULL, "                                                        \
	"sub TEXT NOT NULL, visitor TEXT NOT NULL, "                                                                \
	"liked BIGINT NOT NULL CHECK (liked IN (0, 1)), "                                                           \
	"rating BIGINT CHECK (rating BETWEEN 100 AND 500), "                                                        \
	"shared BIGINT NOT NULL CHECK (shared IN (0, 1)), "                                                         \
	"at BIGINT NOT NULL, PRIMARY KEY (graph, sub, visitor), "                                                   \
	"CHECK (sub <> '' OR visitor <> ''))" tree ";"                                                              \
	"CREATE INDEX reactions_sub ON " t "reactions (sub, graph) "                                                \
	"WHERE sub <> '';"                                                                                          \
	"CREATE INDEX reactions_at ON " t                                                                           \
	"reactions (at) WHERE sub = '';" /* Who has looked at a graph on a day, as day.h hashes it. */              \
	"CREATE TABLE " t "graph_views (graph TEXT NOT NULL, "                                                      \
	"day BIGINT NOT NULL, who TEXT NOT NULL, "                                                                  \
	"PRIMARY KEY (day, graph, who))" tree ";"                                                                   \
	"CREATE TABLE " t "day_keys (day BIGINT PRIMARY KEY, "                                                      \
	"secret " bytes " NOT NULL);"                                                                               \
	"CREATE TABLE " t "visitor_key (id BIGINT PRIMARY KEY, "                                                    \
	"secret " bytes " NOT NULL, at BIGINT NOT NULL);"

#define SOCIAL_NEW_GRAPH(t)                                                 \
	"INSERT INTO " t "graphs (id, likes, ratings, rating_sum, shares, " \
	"views, at) VALUES (NEW.graph, 0, 0, 0, 0, 0, NEW.at) "             \
	"ON CONFLICT (id) DO NOTHING; "

#define SOCIAL_TRIGGERS_SQLITE                                                              \
	"CREATE TRIGGER reactions_added AFTER INSERT ON reactions BEGIN " SOCIAL_NEW_GRAPH( \
		"") "UPDATE graphs SET likes = likes + NEW.liked, "                         \
		    "ratings = ratings + (NEW.rating IS NOT NULL), "                        \
		    "rating_sum = rating_sum + COALESCE(NEW.rating, 0), "                   \
		    "shares = shares + NEW.shared, at = MAX(at, NEW.at) "                   \
		    "WHERE id = NEW.graph; END;"                                            \
		    "CREATE TRIGGER reactions_changed AFTER UPDATE ON reactions BEGIN "     \
		    "UPDATE graphs SET likes = likes + NEW.liked - OLD.liked, "             \
		    "ratings = ratings + (NEW.rating IS NOT NULL) "                         \
		    "- (OLD.rating IS NOT NULL), rating_sum = rating_sum "                  \
		    "+ COALESCE(NEW.rating, 0) - COALESCE(OLD.rating, 0), "                 \
		    "shares = shares + NEW.shared - OLD.shared, "                           \
		    "at = MAX(at, NEW.at) WHERE id = NEW.graph; END;"                       \
		    "CREATE TRIGGER reactions_gone AFTER DELETE ON reactions BEGIN "        \
		    "UPDATE graphs SET likes = likes - OLD.liked, "                         \
		    "ratings = ratings - (OLD.rating IS NOT NULL), "                        \
		    "rating_sum = rating_sum - COALESCE(OLD.rating, 0), "                   \
		    "shares = shares - OLD.shared WHERE id = OLD.graph; END;"

#define SOCIAL_TRIGGERS_POSTGRES                                                                 \
	"CREATE FUNCTION content.reactions_counted() RETURNS trigger "                           \
	"LANGUAGE plpgsql AS $$ DECLARE likes_d bigint := 0; "                                   \
	"ratings_d bigint := 0; sum_d bigint := 0; shares_d bigint := 0; "                       \
	"graph_id text; graph_at bigint := 0; BEGIN "                                            \
	"IF TG_OP <> 'DELETE' THEN " SOCIAL_NEW_GRAPH(                                           \
		"content.") "graph_id := NEW.graph; graph_at := NEW.at; "                        \
			    "likes_d := NEW.liked; ratings_d := (NEW.rating IS NOT NULL)::int; " \
			    "sum_d := COALESCE(NEW.rating, 0); shares_d := NEW.shared; END IF; " \
			    "IF TG_OP <> 'INSERT' THEN graph_id := OLD.graph; "                  \
			    "likes_d := likes_d - OLD.liked; "                                   \
			    "ratings_d := ratings_d - (OLD.rating IS NOT NULL)::int; "           \
			    "sum_d := sum_d - COALESCE(OLD.rating, 0); "                         \
			    "shares_d := shares_d - OLD.shared; END IF; "                        \
			    "UPDATE content.graphs SET likes = likes + likes_d, "                \
			    "ratings = ratings + ratings_d, rating_sum = rating_sum + sum_d, "   \
			    "shares = shares + shares_d, at = GREATEST(at, graph_at) "           \
			    "WHERE id = graph_id; RETURN NULL; END $$;"                          \
			    "CREATE TRIGGER reactions_counted AFTER INSERT OR UPDATE OR DELETE " \
			    "ON content.reactions FOR EACH ROW "                                 \
			    "EXECUTE FUNCTION content.reactions_counted();"

#define SOCIAL_SQLITE \
	SOCIAL_TABLES("", " WITHOUT ROWID", "BLOB") SOCIAL_TRIGGERS_SQLITE
#define SOCIAL_POSTGRES \
	SOCIAL_TABLES("content.", "", "bytea") SOCIAL_TRIGGERS_POSTGRES

#endif
