"""Mails, chats, tickets, forms, letters and logs with personal data marked; data written for this recipe."""
