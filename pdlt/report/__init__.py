"""What people look at: tables as text, figures."""
