package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// forgetContainers removes every container, sandbox and lease from the
// metadata of stopped containerds (arguments: their root folders) and keeps
// the images. A node that lost its power has none of its containers when it
// comes back; containerd's first garbage collection then removes their
// writable layers, which nothing refers to any more.
func forgetContainers(roots []string) error {
	for _, root := range roots {
		if err := forget(root); err != nil {
			return fmt.Errorf("%s: %w", root, err)
		}
	}
	return nil
}

func forget(root string) error {
	path := filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	// The lock is held as long as a containerd runs: then fail, do not wait.
	database, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer database.Close()
	return database.Update(func(transaction *bbolt.Tx) error {
		namespaces := transaction.Bucket([]byte("v1"))
		if namespaces == nil {
			return nil
		}
		return namespaces.ForEachBucket(func(name []byte) error {
			namespace := namespaces.Bucket(name)
			for _, kind := range []string{"containers", "sandboxes", "leases"} {
				err := namespace.DeleteBucket([]byte(kind))
				if err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
					return fmt.Errorf("%s/%s: %w", name, kind, err)
				}
			}
			return nil
		})
	})
}
