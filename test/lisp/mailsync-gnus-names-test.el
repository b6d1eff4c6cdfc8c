;;; mailsync-gnus-names-test.el --- Tests of which groups a folder has  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Folders and groups, and the ranges of numbers that Gnus keeps.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; From folder to groups

(defmacro mailsync-gnus-test--with-groups (groups &rest body)
  "Evaluate BODY in a Gnus that knows GROUPS, a list of (NAME METHOD)."
  (declare (indent 1))
  `(let* ((gnus-newsrc-alist
           (cons '("dummy.group" 0 nil)
                 (mapcar (lambda (group)
                           (list (car group) 3 nil nil (cadr group)))
                         ,groups)))
          (gnus-newsrc-hashtb (make-hash-table :test #'equal))
          (gnus-killed-list nil)
          (gnus-zombie-list nil)
          (mailsync-gnus--index nil))
     (dolist (info (cdr gnus-newsrc-alist))
       (puthash (car info) (list 0 info) gnus-newsrc-hashtb))
     ,@body))

(ert-deftest mailsync-gnus-test-imap-names ()
  "Each way in which a server spells a folder is understood."
  (pcase-dolist
      (`(,folder ,names ,expected)
       '(("INBOX" ("INBOX") "INBOX")
         ("INBOX" ("inbox") "inbox")
         ("INBOX" ("Inbox" "INBOX.a") "Inbox")
         ("INBOX" ("INBOXES") nil)
         ("a" ("a" "A") "a")
         ("A" ("a") nil)
         ("a/b" ("a.b") "a.b")
         ("a/b" ("a/b") "a/b")
         ("a/b" ("a/b" "a.b") "a/b")
         ("a/b" ("INBOX.a.b") "INBOX.a.b")
         ("a/b" ("Inbox/a/b") "Inbox/a/b")
         ("a/b" ("a.b" "INBOX.a.b") "a.b")
         ("a/b" ("#a.b") "#a.b")
         ("a/b" ("b" "a") nil)
         ("INBOX/a/b" ("INBOX.a.b" "a.b") "INBOX.a.b")
         ("INBOX/a/b" ("a.b") "a.b")
         ("a.b" ("a.b") "a.b")
         ("Entwürfe" ("Entwürfe") "Entwürfe")
         ("R&D" ("R&D") "R&D")
         ("with space" ("with space") "with space")
         ("%s" ("%s") "%s")
         ("a:b+c" ("a:b+c") "a:b+c")))
    (let ((method '(nnimap "local" (nnimap-address "localhost"))))
      (mailsync-gnus-test--with-groups
          (mapcar (lambda (name) (list (concat "nnimap+local:" name) method))
                  names)
        (should (equal (list folder names
                             (mailsync-gnus-folder-groups
                              (list "home" folder nil)))
                       (list folder names
                             (and expected
                                  (list (concat "nnimap+local:" expected))))))))))

(ert-deftest mailsync-gnus-test-imap-servers ()
  "The server of an account is the local one, or the one that it names."
  (let ((here '(nnimap "here" (nnimap-address "127.0.0.1")))
        (shell '(nnimap "shell" (nnimap-stream shell)))
        (far '(nnimap "far" (nnimap-address "imap.example.org"))))
    (pcase-dolist
        (`(,methods ,wanted ,expected)
         `(((,here) nil ("nnimap+here:a"))
           ((,shell) nil ("nnimap+shell:a"))
           ((,far) nil nil)
           ((,here ,far) nil ("nnimap+here:a"))
           ((,here ,shell) nil nil)     ; which one?
           ((,here ,shell) "shell" ("nnimap+shell:a"))
           ((,here ,far) "nnimap:far" ("nnimap+far:a"))
           ((,here ,far) "other" nil)))
      (let ((mailsync-gnus-test--accounts `(("home" :gnus-server ,wanted))))
        (mailsync-gnus-test--with-groups
            (mapcar (lambda (method)
                      (list (format "nnimap+%s:a" (cadr method)) method))
                    methods)
          (should (equal (list methods wanted
                               (mailsync-gnus-folder-groups '("home" "a" nil)))
                         (list methods wanted expected))))))))

(ert-deftest mailsync-gnus-test-imap-servers-elsewhere ()
  "The server of an account without a maildir is elsewhere, if there is one."
  (let ((here '(nnimap "here" (nnimap-address "127.0.0.1")))
        (far '(nnimap "far" (nnimap-address "imap.example.org")))
        (other '(nnimap "other" (nnimap-address "imap.example.com"))))
    (pcase-dolist
        (`(,methods ,wanted ,expected)
         `(((,here) nil ("nnimap+here:a"))
           ((,here ,far) nil ("nnimap+far:a"))
           ((,here ,far ,other) nil nil) ; which one?
           ((,here ,far ,other) "here" ("nnimap+here:a"))))
      (let ((mailsync-gnus-test--accounts
             `(("home" :remote (watcher "x") :gnus-server ,wanted))))
        (mailsync-gnus-test--with-groups
            (mapcar (lambda (method)
                      (list (format "nnimap+%s:a" (cadr method)) method))
                    methods)
          (should (equal (list methods wanted
                               (mailsync-gnus-folder-groups '("home" "a" nil)))
                         (list methods wanted expected))))))))

(ert-deftest mailsync-gnus-test-maildir-directories ()
  "An nnmaildir group is found by its directory, however it is spelt."
  (let* ((dir (file-truename (make-temp-file "mailsync-gnus" t)))
         (server (expand-file-name "server" dir))
         (names '("plain" "with space" "per%s" "Entw&APw-rfe" "R&-D" "~tilde"
                  "a.b" "quote\"d" "x:y+z" "日本語"))
         (mailsync-gnus-test--resolve #'funcall)
         (mailsync-gnus-test--accounts '(("home"))))
    (unwind-protect
        (progn
          (make-directory server t)
          (dolist (name names)
            (make-directory (expand-file-name (concat "mail/" name) dir) t)
            (make-symbolic-link (expand-file-name (concat "mail/" name) dir)
                                (concat server "/" name)))
          ;; Two groups for one folder, on two servers.
          (make-symbolic-link (expand-file-name "mail/plain" dir)
                              (concat server "/second"))
          (mailsync-gnus-test--with-groups
              (append
               (mapcar (lambda (name)
                         (list (concat "nnmaildir+m:" name)
                               `(nnmaildir "m" (directory ,server))))
                       (cons "second" names))
               `(("nnmaildir+form:plain"
                  (nnmaildir "form" (directory (concat ,dir "/mail"))))
                 ("nnmaildir+wrong:plain"
                  (nnmaildir "wrong" (directory (error "Oh"))))))
            (mailsync-gnus--refresh-index #'ignore)
            (dolist (name (cdr names))
              (should (equal (mailsync-gnus-folder-groups
                              (list "home" name
                                    (concat dir "/mail/" name "/")))
                             (list (concat "nnmaildir+m:" name)))))
            (should (equal (sort (mailsync-gnus-folder-groups
                                  (list :account "home" :folder "plain"
                                        :directory "/elsewhere"
                                        :truename (concat dir "/mail/plain")))
                                 #'string<)
                           '("nnmaildir+form:plain" "nnmaildir+m:plain"
                             "nnmaildir+m:second")))
            (should-not (mailsync-gnus-folder-groups
                         (list "home" "other" (concat dir "/mail"))))))
      (delete-directory dir t))))

(ert-deftest mailsync-gnus-test-configured-groups ()
  "An account may name its groups itself, and a mistake there is logged."
  (mailsync-gnus-test--with-groups '(("g" (nnml "x")) ("h" (nnml "x")))
    (pcase-dolist
        (`(,groups ,expected)
         `((,(lambda (change) (and (equal (plist-get change :folder) "a")
                                   '("g" "h" "unknown")))
            ("g" "h"))
           (,(lambda (_) "g") ("g"))
           ((("b" "g") ("a" "h")) ("h"))
           ((("b" "g")) nil)
           (,(lambda (_) (error "Oh")) nil)))
      (let ((mailsync-gnus-test--accounts `(("home" :gnus-groups ,groups)))
            (mailsync-gnus-test--log nil))
        (should (equal (mailsync-gnus-folder-groups '("home" "a" nil))
                       expected))))
    (let ((mailsync-gnus-test--accounts
           `(("home" :gnus-groups ,(lambda (_) (error "Oh")))))
          (mailsync-gnus-test--log nil))
      (mailsync-gnus-folder-groups '("home" "a" nil))
      (should (string-match-p "home: :gnus-groups: Oh"
                              (car mailsync-gnus-test--log))))))

;;;; Ranges

(ert-deftest mailsync-gnus-test-ranges ()
  "Ranges are what Gnus makes of the same numbers."
  (pcase-dolist (`(,range ,number ,without ,with)
                 '((nil 3 nil (3))
                   ((1 . 5) 3 ((1 . 2) (4 . 5)) ((1 . 5)))
                   ((1 . 5) 6 ((1 . 5)) ((1 . 6)))
                   ((1 . 5) 1 ((2 . 5)) ((1 . 5)))
                   ((1 . 2) 2 (1) ((1 . 2)))
                   (((1 . 3) 5 (7 . 9)) 5 ((1 . 3) (7 . 9)) ((1 . 3) 5 (7 . 9)))
                   (((1 . 3) 5 (7 . 9)) 4 ((1 . 3) 5 (7 . 9)) ((1 . 5) (7 . 9)))
                   (((1 . 3) 5 (7 . 9)) 8 ((1 . 3) 5 7 9) ((1 . 3) 5 (7 . 9)))
                   ((3) 3 nil (3))))
    (let ((info (list "group" 3 (copy-tree range))))
      (should (equal (mailsync-gnus--range-without range number) without))
      (should (eq (mailsync-gnus--in-range-p number range)
                  (and (gnus-member-of-range number range) t)))
      (mailsync-gnus--add-read info (list number))
      (should (equal (mailsync-gnus--info-read info) with))
      (should (equal (gnus-uncompress-range with)
                     (gnus-uncompress-range
                      (gnus-add-to-range (copy-tree range) (list number))))))))

(provide 'mailsync-gnus-names-test)
;;; mailsync-gnus-names-test.el ends here
