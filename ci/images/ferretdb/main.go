// FerretDB 1.x with its SQLite backend, embedded: a stand-in for ghcr.io/ferretdb/ferretdb.
//
// It takes the image's environment as far as the embedding package goes: no authentication, no
// PostgreSQL, no telemetry. `ferretdb ping` is the image's own health check.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
)

func main() {
	work := serve
	if len(os.Args) > 1 {
		if os.Args[1] != "ping" {
			log.Fatalf("argument %q is not one that this stand-in knows", os.Args[1])
		}
		work = ping
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := work(ctx); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	if handler := os.Getenv("FERRETDB_HANDLER"); handler != "sqlite" {
		return fmt.Errorf("FERRETDB_HANDLER is %q; this stand-in has `sqlite` only", handler)
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{
			TCP:         os.Getenv("FERRETDB_LISTEN_ADDR"),
			TLS:         os.Getenv("FERRETDB_LISTEN_TLS"),
			TLSCertFile: os.Getenv("FERRETDB_LISTEN_TLS_CERT_FILE"),
			TLSKeyFile:  os.Getenv("FERRETDB_LISTEN_TLS_KEY_FILE"),
			TLSCAFile:   os.Getenv("FERRETDB_LISTEN_TLS_CA_FILE"),
		},
		Handler:   "sqlite",
		SQLiteURL: os.Getenv("FERRETDB_SQLITE_URL"),
	})
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

func ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address := os.Getenv("FERRETDB_LISTEN_ADDR")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("FERRETDB_LISTEN_ADDR %q: %w", address, err)
	}
	if host == "" || strings.HasPrefix(host, "0.0.0.0") || host == "::" {
		host = "127.0.0.1"
	}
	uri := "mongodb://" + net.JoinHostPort(host, port) + "/?directConnection=true"
	client, err := mongo.Connect(ctx, options.Client().ApplyURI(uri))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	return client.Ping(ctx, nil)
}
