"""Access: authentication, permissions and the audit log."""
